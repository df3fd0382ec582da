// Command manifests turns the resource definitions that the files under envoy/istio,
// envoy/gateway, envoy/kustomize and envoy/monitoring are written against into JSON schemas for kubeconform:
//
//	manifests FOLDER    writes FOLDER/<group>/<kind>_<version>.json
//
// What has no group, as a Service, is put under its version, where kubeconform looks for it.
//
// The definitions come out of the projects' Go modules, at these versions and with these
// sums. They are fetched one by one: to require them would fetch all that they require.
package main

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"
)

// A source is a module with resource definitions in it.
type source struct {
	module string // path@version
	sum    string // of the module's zip
	files  string // pattern inside the module
}

var sources = []source{
	{
		module: "istio.io/api@v1.31.1",
		sum:    "h1:5Yb5ihcz4YQsCkciusK7DnFpBMwRB6EFWeUKH1Atuyk=",
		files:  "kubernetes/customresourcedefinitions.gen.yaml",
	},
	{
		module: "sigs.k8s.io/gateway-api@v1.7.0",
		sum:    "h1:duVnm7nO6oXfMMUWfcDoBph47CYR/ME3NGxccOVglaY=",
		files:  "config/crd/standard/gateway.networking.k8s.io_*.yaml",
	},
	{
		module: "github.com/envoyproxy/gateway@v1.9.1",
		sum:    "h1:vAVp6/AlBXJ1aOhp1mxL7fNEzVEfjADUguUhm2wzxQY=",
		files:  "charts/gateway-crds-helm/templates/generated/*.yaml",
	},
	{
		module: "github.com/prometheus-operator/prometheus-operator@v0.85.0",
		sum:    "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s=",
		files:  "example/prometheus-operator-crd/monitoring.coreos.com_p*.yaml",
	},
	{
		module: "k8s.io/kubernetes@v1.36.3",
		sum:    "h1:qDQdoMiluAE2Eab6Fa52YV+WjiGz9mZFFoagEA6cI+o=",
		files:  swagger,
	},
}

// Kubernetes' own definitions, all in one file, which refer to each other.
const swagger = "api/openapi-spec/swagger.json"

type object = map[string]any

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: manifests FOLDER")
		os.Exit(2)
	}
	for _, s := range sources {
		written, err := s.write(os.Args[1])
		if err == nil && written == 0 {
			err = errors.New("no resource definition in " + s.files)
		}
		if err != nil {
			fmt.Fprintf(os.Stderr, "error: %s: %v\n", s.module, err)
			os.Exit(1)
		}
	}
}

// write writes the schemas of one source and says how many they were.
func (s source) write(folder string) (int, error) {
	archive, err := s.fetch()
	if err != nil {
		return 0, err
	}
	reader, err := zip.OpenReader(archive)
	if err != nil {
		return 0, err
	}
	defer reader.Close()
	written := 0
	for _, file := range reader.File {
		name := strings.TrimPrefix(file.Name, s.module+"/")
		if match, _ := path.Match(s.files, name); !match {
			continue
		}
		content, err := read(file)
		if err != nil {
			return written, err
		}
		definitions := definitions
		if name == swagger {
			definitions = builtIn
		}
		count, err := definitions(content, folder)
		written += count
		if err != nil {
			return written, fmt.Errorf("%s: %w", name, err)
		}
	}
	return written, nil
}

// fetch has the module's zip in Go's cache, and returns its path.
func (s source) fetch() (string, error) {
	// Outside of any module, because no go.mod is meant to change. The local toolchain
	// will do: nothing of the module is compiled, so a newer Go that its go.mod asks for
	// is no obstacle, though the command reports it as an error.
	command := exec.Command("go", "mod", "download", "-json", s.module)
	command.Dir = os.TempDir()
	command.Env = append(os.Environ(), "GOTOOLCHAIN=local", "GOFLAGS=", "GOWORK=off")
	output, failure := command.Output()
	var module struct{ Zip, Sum, Error string }
	if err := json.Unmarshal(output, &module); err != nil {
		return "", errors.Join(failure, err)
	}
	if module.Zip == "" {
		return "", errors.Join(failure, errors.New(module.Error))
	}
	if module.Sum != s.sum {
		return "", fmt.Errorf("its sum is %s, not %s", module.Sum, s.sum)
	}
	return module.Zip, nil
}

func read(file *zip.File) ([]byte, error) {
	content, err := file.Open()
	if err != nil {
		return nil, err
	}
	defer content.Close()
	return io.ReadAll(content)
}

// definitions writes the schemas of the definitions in a YAML file.
func definitions(content []byte, folder string) (int, error) {
	var lines [][]byte
	for _, line := range bytes.Split(content, []byte("\n")) {
		// Conditions of a Helm chart, around the whole file.
		if !bytes.HasPrefix(line, []byte("{{")) {
			lines = append(lines, line)
		}
	}
	written := 0
	for _, document := range bytes.Split(bytes.Join(lines, []byte("\n")), []byte("\n---")) {
		var definition struct {
			Kind string
			Spec struct {
				Group    string
				Names    struct{ Kind string }
				Versions []struct {
					Name   string
					Schema struct{ OpenAPIV3Schema object }
				}
			}
		}
		if err := yaml.Unmarshal(document, &definition); err != nil {
			return written, err
		}
		if definition.Kind != "CustomResourceDefinition" {
			continue
		}
		for _, version := range definition.Spec.Versions {
			schema := resource(version.Schema.OpenAPIV3Schema)
			target := filepath.Join(folder, definition.Spec.Group)
			if err := save(schema, target, definition.Spec.Names.Kind, version.Name); err != nil {
				return written, err
			}
			written++
		}
	}
	return written, nil
}

// builtIn writes the schemas of Kubernetes' own resources, each with what it refers to.
func builtIn(content []byte, folder string) (int, error) {
	var document struct{ Definitions map[string]object }
	if err := json.Unmarshal(content, &document); err != nil {
		return 0, err
	}
	// Strict once, because they are shared.
	for _, definition := range document.Definitions {
		strict(definition)
	}
	written := 0
	for _, definition := range document.Definitions {
		kinds, _ := definition["x-kubernetes-group-version-kind"].([]any)
		// More than one have the options of requests.
		if len(kinds) != 1 {
			continue
		}
		kind, _ := kinds[0].(object)
		text := func(name string) string { value, _ := kind[name].(string); return value }
		schema := object{"definitions": referred(definition, document.Definitions)}
		for name, value := range definition {
			schema[name] = value
		}
		group := text("group")
		if group == "" {
			group = text("version")
		}
		if err := save(schema, filepath.Join(folder, group), text("kind"), text("version")); err != nil {
			return written, err
		}
		written++
	}
	return written, nil
}

// referred is what a definition refers to, and what that refers to.
func referred(definition object, all map[string]object) object {
	found := object{}
	var look func(any)
	look = func(value any) {
		switch value := value.(type) {
		case []any:
			for _, element := range value {
				look(element)
			}
		case object:
			if reference, ok := value["$ref"].(string); ok {
				name := strings.TrimPrefix(reference, "#/definitions/")
				if _, known := found[name]; !known {
					found[name] = all[name]
					look(all[name])
				}
			}
			for _, member := range value {
				look(member)
			}
		}
	}
	look(definition)
	return found
}

// save writes the schema of one kind.
func save(schema object, folder, kind, version string) error {
	// The draft that Kubernetes's own words were taken from.
	schema["$schema"] = "http://json-schema.org/draft-04/schema#"
	text, err := json.Marshal(schema)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(folder, strings.ToLower(kind)+"_"+version+".json"), text, 0o644)
}

// resource is the schema of a whole resource. A definition leaves out metadata, which is
// every resource's; these are the members that people write.
func resource(schema object) object {
	properties, _ := schema["properties"].(object)
	if properties == nil {
		properties = object{}
		schema["properties"] = properties
	}
	text := object{"type": "string"}
	texts := object{"type": "object", "additionalProperties": text}
	properties["apiVersion"] = text
	properties["kind"] = text
	properties["metadata"] = object{
		"type":       "object",
		"required":   []string{"name"},
		"properties": object{"name": text, "namespace": text, "labels": texts, "annotations": texts},
	}
	// Everything here has a spec, also where the definition does not ask for one.
	schema["required"] = []string{"apiVersion", "kind", "metadata", "spec"}
	strict(schema)
	return schema
}

// strict makes a structural schema refuse what the API server would silently drop, and says
// in JSON Schema what Kubernetes says in words of its own.
func strict(schema object) {
	if schema["x-kubernetes-int-or-string"] == true || schema["format"] == "int-or-string" {
		delete(schema, "format")
		delete(schema, "type")
		delete(schema, "anyOf")
		schema["type"] = []string{"integer", "string"}
	}
	if kind, one := schema["type"].(string); one && schema["nullable"] == true {
		schema["type"] = []string{kind, "null"}
	}
	if properties, ok := schema["properties"].(object); ok {
		for _, property := range properties {
			if property, ok := property.(object); ok {
				strict(property)
			}
		}
	}
	for _, name := range []string{"items", "additionalProperties"} {
		if inner, ok := schema[name].(object); ok {
			strict(inner)
		}
	}
	// allOf, anyOf, oneOf and not only add conditions: structure stands outside of them.
	_, open := schema["additionalProperties"]
	if schema["type"] == "object" && !open && schema["x-kubernetes-preserve-unknown-fields"] != true {
		schema["additionalProperties"] = false
	}
}
