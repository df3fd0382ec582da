// An image registry over TLS, which holds what it is given and forgets it when it ends.
//
//	registry ADDRESS CERTIFICATE KEY NAME=LAYOUT...
//
// LAYOUT is a folder with an OCI image layout, as `make image` writes it; its one image is pushed under NAME, such as
// registry.example.com/scopegate:latest. For each a line says "NAME DIGEST" when it is there.
package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

const reusePort = 15 // SO_REUSEPORT on Linux, which package syscall does not name

func main() {
	if len(os.Args) < 4 {
		log.Fatal("usage: registry ADDRESS CERTIFICATE KEY NAME=LAYOUT...")
	}
	if err := serve(os.Args[1], os.Args[2], os.Args[3], os.Args[4:]); err != nil {
		log.Fatal(err)
	}
}

func serve(address, certificate, key string, images []string) error {
	// A proxy may listen on the same port of every address.
	shared := net.ListenConfig{Control: func(_, _ string, socket syscall.RawConn) error {
		var err error
		controlled := socket.Control(func(handle uintptr) {
			err = syscall.SetsockoptInt(int(handle), syscall.SOL_SOCKET, reusePort, 1)
		})
		if controlled != nil {
			return controlled
		}
		return err
	}}
	listener, err := shared.Listen(context.Background(), "tcp", address)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- http.ServeTLS(listener, registry.New(), certificate, key) }()
	for _, image := range images {
		to, folder, found := strings.Cut(image, "=")
		if !found {
			return fmt.Errorf("%s: write NAME=LAYOUT", image)
		}
		digest, err := push(address, to, folder)
		if err != nil {
			return fmt.Errorf("%s: %w", to, err)
		}
		fmt.Println(to, digest)
	}
	return <-ended
}

// push puts the one image of a layout into the registry at that address.
func push(address, to, folder string) (string, error) {
	tag, err := name.NewTag(to)
	if err != nil {
		return "", err
	}
	index, err := layout.ImageIndexFromPath(folder)
	if err != nil {
		return "", err
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return "", err
	}
	if len(manifest.Manifests) != 1 {
		return "", fmt.Errorf("%d images in %s", len(manifest.Manifests), folder)
	}
	image, err := index.Image(manifest.Manifests[0].Digest)
	if err != nil {
		return "", err
	}
	// It is this process that answers, whatever the name resolves to.
	there := &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, address)
		},
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}
	if err := remote.Write(tag, image, remote.WithTransport(there)); err != nil {
		return "", err
	}
	digest, err := image.Digest()
	return digest.String(), err
}
