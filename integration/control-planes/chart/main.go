// Prints what a Helm chart installs, as `helm template` does: its definitions first, and then everything else.
//
//	chart FOLDER RELEASE NAMESPACE KUBERNETES-VERSION [VALUES]
package main

import (
	"bytes"
	"fmt"
	"log"
	"os"
	"slices"
	"strings"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
)

func main() {
	if len(os.Args) != 5 && len(os.Args) != 6 {
		log.Fatal("usage: chart FOLDER RELEASE NAMESPACE KUBERNETES-VERSION [VALUES]")
	}
	printed, err := render(os.Args[1], os.Args[2], os.Args[3], os.Args[4], os.Args[5:])
	if err != nil {
		log.Fatal(err)
	}
	os.Stdout.Write(printed)
}

func render(folder, release, namespace, version string, valueFiles []string) ([]byte, error) {
	chart, err := loader.Load(folder)
	if err != nil {
		return nil, err
	}
	values := chartutil.Values{}
	for _, file := range valueFiles {
		if values, err = chartutil.ReadValuesFile(file); err != nil {
			return nil, err
		}
	}
	if err := chartutil.ProcessDependenciesWithMerge(chart, values); err != nil {
		return nil, err
	}
	parsed, err := chartutil.ParseKubeVersion(version)
	if err != nil {
		return nil, err
	}
	capabilities := chartutil.DefaultCapabilities.Copy()
	capabilities.KubeVersion = *parsed
	options := chartutil.ReleaseOptions{Name: release, Namespace: namespace, IsInstall: true, Revision: 1}
	complete, err := chartutil.ToRenderValues(chart, values, options, capabilities)
	if err != nil {
		return nil, err
	}
	files, err := engine.Render(chart, complete)
	if err != nil {
		return nil, err
	}
	var printed bytes.Buffer
	for _, definition := range chart.CRDObjects() {
		fmt.Fprintf(&printed, "---\n%s\n", definition.File.Data)
	}
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		isManifest := strings.HasSuffix(name, ".yaml") || strings.HasSuffix(name, ".yml")
		if isManifest && strings.TrimSpace(files[name]) != "" {
			fmt.Fprintf(&printed, "---\n%s\n", files[name])
		}
	}
	return printed.Bytes(), nil
}
