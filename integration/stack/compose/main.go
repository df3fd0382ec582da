// Command compose-check reads Compose files as `docker compose config --quiet` does, with the
// same library, for machines that have no Docker:
//
//	compose-check FILE...    says nothing and returns 0, or says what is wrong and returns 1
//
// The schema refuses keys that it does not know and values of a wrong type; the loader refuses
// what the schema cannot see, such as a dependency on a service that is not there.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/compose-spec/compose-go/v2/cli"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: compose-check FILE...")
		os.Exit(2)
	}
	if err := check(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// check loads the files as one project, without the environment of whoever asks.
func check(files []string) error {
	options, err := cli.NewProjectOptions(files, cli.WithProfiles([]string{"*"}))
	if err != nil {
		return err
	}
	_, err = options.LoadProject(context.Background())
	return err
}
