package main

// A question is a line of JSON, and so is its answer.
//
//	{"language":"promql","query":"up"}                  any query
//	{"language":"promql","as":"selector","query":"up"}  what stands in match[]
//
//	{"selectors":[[{"name":"__name__","op":"=","value":"up"}]]}
//	{"error":"…"}    refused
//	{"fault":"…"}    the oracle does not trust its own reading, or was asked nonsense
//
// A program that ends would hide what it ended at, so every panic is an answer.

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"reflect"
	"runtime/debug"
)

// Question is what a line asks.
type Question struct {
	Language string `json:"language"`
	As       string `json:"as"`
	Query    string `json:"query"`
}

// Matcher is one matcher of a selector.
type Matcher struct {
	Name  string `json:"name"`
	Op    string `json:"op"`
	Value string `json:"value"`
}

// Verdict is what the backend's parser makes of a query that it accepts.
type Verdict struct {
	Selectors [][]Matcher `json:"selectors"`
}

// Oracle reads a query as the backend does. Its error is the backend's.
type Oracle func(question Question) (Verdict, error)

// Fault is an error of the oracle itself.
type Fault struct{ Message string }

func (f Fault) Error() string { return f.Message }

// Serve answers standard input on standard output until it ends.
func Serve(oracle Oracle) {
	// A parser that recovers from a panic of its own writes a page about it. What the runtime
	// says when it ends the program is not written through this.
	if nowhere, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0); err == nil {
		os.Stderr = nowhere
	}
	// Much is allocated and soon forgotten, and little is kept.
	debug.SetGCPercent(800)
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	out := bufio.NewWriterSize(os.Stdout, 1<<20)
	for {
		line, err := in.ReadBytes('\n')
		if len(line) > 0 {
			answer, err := json.Marshal(answer(oracle, line))
			if err != nil {
				fail(err)
			}
			if _, err := out.Write(append(answer, '\n')); err != nil {
				fail(err)
			}
		}
		// Whoever asks may wait for the answers before asking more.
		if err != nil || in.Buffered() == 0 {
			if err := out.Flush(); err != nil {
				fail(err)
			}
		}
		if err == io.EOF {
			return
		}
		if err != nil {
			fail(err)
		}
	}
}

func fail(err error) {
	panic(err)
}

func answer(oracle Oracle, line []byte) (answer any) {
	defer func() {
		if panicked := recover(); panicked != nil {
			answer = refusal{Error: fmt.Sprint("panic: ", panicked)}
		}
	}()
	var question Question
	if err := json.Unmarshal(line, &question); err != nil {
		return fault{Fault: err.Error()}
	}
	if question.Language != "promql" {
		return fault{Fault: "this is the oracle of promql"}
	}
	verdict, err := oracle(question)
	if own, is := err.(Fault); is {
		return fault{Fault: own.Message}
	}
	if err != nil {
		return refusal{Error: err.Error()}
	}
	if verdict.Selectors == nil {
		verdict.Selectors = [][]Matcher{}
	}
	return verdict
}

type refusal struct {
	Error string `json:"error"`
}

type fault struct {
	Fault string `json:"fault"`
}

// Everywhere finds the nodes of type T in a tree, whatever leads to them: by the fields of its
// types, exported or not, and not by the walk that the parser's package offers and that might
// know a field too few. T and all types that lead to it belong to one package.
func Everywhere[T any](tree any) map[*T]bool {
	search := search[T]{
		target: reflect.TypeFor[T](),
		seen:   map[uintptr]bool{},
		found:  map[*T]bool{},
	}
	search.visit(reflect.ValueOf(tree))
	return search.found
}

type search[T any] struct {
	target reflect.Type
	seen   map[uintptr]bool
	found  map[*T]bool
}

func (s *search[T]) visit(value reflect.Value) {
	switch value.Kind() {
	case reflect.Pointer:
		if value.IsNil() {
			return
		}
		if value.Type().Elem() == s.target {
			s.found[(*T)(value.UnsafePointer())] = true
			return
		}
		if s.seen[value.Pointer()] {
			return
		}
		s.seen[value.Pointer()] = true
		s.visit(value.Elem())
	case reflect.Interface:
		s.visit(value.Elem())
	case reflect.Slice, reflect.Array:
		for i := range value.Len() {
			s.visit(value.Index(i))
		}
	case reflect.Map:
		for entries := value.MapRange(); entries.Next(); {
			s.visit(entries.Value())
		}
	case reflect.Struct:
		if value.Type() == s.target {
			panic(Fault{"a node that no pointer leads to"})
		}
		if value.Type().PkgPath() != s.target.PkgPath() {
			return
		}
		for i := range value.NumField() {
			s.visit(value.Field(i))
		}
	}
}

// Same says which nodes only one of the two found.
func Same[T any](walked, everywhere map[*T]bool) error {
	for node := range everywhere {
		if !walked[node] {
			return Fault{fmt.Sprintf("the walk misses %v", node)}
		}
	}
	if len(walked) != len(everywhere) {
		return Fault{"the walk finds more nodes than there are"}
	}
	return nil
}
