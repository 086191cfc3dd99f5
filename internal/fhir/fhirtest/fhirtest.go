// Package fhirtest checks resources the server wrote, for tests of any package: a
// resource against HL7's JSON schema, and a notification bundle also against the
// rules of its profile. It parses with encoding/json, so that a mistake of package
// fhir's own reader cannot hide one of its writer.
//
// The schemas are in the specification's folder, which is SIGNALFHIR_SPEC or
// ../shared/spec beside the repository. A test that only checks what the server
// wrote does not need the folder: without it, the check by schema is left out. If
// SIGNALFHIR_SPEC_REQUIRED is 1, a missing folder fails the test.
//
// It is imported by tests only.
package fhirtest

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"signalfhir/internal/fhir"
)

// Spec returns the path of a file of the specification's folder. If the folder is
// missing, it skips the test. It is for tests of the folder's content.
func Spec(t testing.TB, elem ...string) string {
	t.Helper()
	folder, err := specFolder(t)
	if err != nil {
		t.Skipf("skipped: the specification's folder is missing (%v); set SIGNALFHIR_SPEC to its path", err)
	}
	return filepath.Join(append([]string{folder}, elem...)...)
}

// Examples returns the paths of HL7's examples of a release, sorted. Without the
// specification's folder there are none.
func Examples(t testing.TB, r fhir.Release) []string {
	t.Helper()
	folder, err := specFolder(t)
	if err != nil {
		return nil
	}
	files, err := filepath.Glob(filepath.Join(folder, "examples", string(r), "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s has no examples of %s (%v)", folder, r, err)
	}
	return files
}

// specFolder returns the specification's folder, and an error if it is missing. If
// it is required, the error fails the test.
func specFolder(t testing.TB) (string, error) {
	t.Helper()
	folder := os.Getenv("SIGNALFHIR_SPEC")
	if folder == "" {
		_, here, _, _ := runtime.Caller(0) // <repository>/internal/fhir/fhirtest/fhirtest.go
		folder = filepath.Join(filepath.Dir(here), "..", "..", "..", "..", "shared", "spec")
	}
	_, err := os.Stat(folder)
	if err != nil && os.Getenv("SIGNALFHIR_SPEC_REQUIRED") == "1" {
		t.Fatalf("the specification's folder is missing: %v", err)
	}
	return folder, err
}

// Valid fails t unless data is one valid resource of the release, by HL7's JSON
// schema and by the package's own element tables. Without the specification's
// folder, only the element tables count.
func Valid(t testing.TB, r fhir.Release, data []byte) {
	t.Helper()
	resource, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatalf("not JSON: %v\n%s", err, data)
	}
	if folder, err := specFolder(t); err == nil {
		if err := schema(t, folder, r).validate(resource); err != nil {
			t.Errorf("the schema of %s refuses it: %#v\n%s", r, err, data)
		}
	}
	o, refused := fhir.Parse(data)
	if refused != nil {
		t.Fatalf("fhir.Parse refuses it: %v\n%s", refused, data)
	}
	for _, issue := range r.Validate(o) {
		t.Errorf("fhir.Validate: %s %s %v: %s", issue.Severity, issue.Code, issue.Expression, issue.Diagnostics)
	}
}

// schemaTypes is HL7's JSON schema of a release; each type is compiled on first
// use. It is safe for concurrent use.
type schemaTypes struct {
	mu       sync.Mutex // guards all below; the compiler is not safe for concurrent use
	compiler *jsonschema.Compiler
	url      string
	types    map[string]*jsonschema.Schema
}

// schemas caches schemas by release: a schema takes long to compile and never
// changes.
var schemas sync.Map

// schema returns the schema of a release and reads it on the first call.
func schema(t testing.TB, folder string, r fhir.Release) *schemaTypes {
	t.Helper()
	if s, ok := schemas.Load(r); ok {
		return s.(*schemaTypes)
	}
	file, err := os.Open(filepath.Join(folder, "fhir.schema."+string(r)+".json"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	doc, err := jsonschema.UnmarshalJSON(file)
	if err != nil {
		t.Fatal(err)
	}
	// A resource inside of another is validated by itself, and no document as a whole.
	// Otherwise the schema of one type would need those of all types, and it takes seconds
	// to compile them.
	root := doc.(map[string]any)
	delete(root, "oneOf")
	root["definitions"].(map[string]any)["ResourceList"] = map[string]any{"type": "object", "required": []any{"resourceType"}}
	s := &schemaTypes{compiler: jsonschema.NewCompiler(), url: "file:///fhir.schema." + string(r) + ".json", types: map[string]*jsonschema.Schema{}}
	if err := s.compiler.AddResource(s.url, doc); err != nil {
		t.Fatal(err)
	}
	kept, _ := schemas.LoadOrStore(r, s)
	return kept.(*schemaTypes)
}

// validate returns an error unless v is a valid resource, and so are those inside of it.
func (s *schemaTypes) validate(v any) error {
	object, _ := v.(map[string]any)
	typ, _ := object["resourceType"].(string)
	definition, err := s.definition(typ)
	if err != nil {
		return fmt.Errorf("resourceType %q: %w", typ, err)
	}
	if err := definition.Validate(v); err != nil {
		return err
	}
	return s.validateInside(v)
}

// inside are the elements whose type in the schemas is ResourceList. Other elements have
// these names too, but no resourceType.
var inside = []string{"contained", "resource", "outcome", "issues"}

func (s *schemaTypes) validateInside(v any) error {
	switch v := v.(type) {
	case []any:
		for _, one := range v {
			if err := s.validateInside(one); err != nil {
				return err
			}
		}
	case map[string]any:
		for name, value := range v {
			validate := s.validateInside
			if slices.Contains(inside, name) {
				validate = s.validateResources
			}
			if err := validate(value); err != nil {
				return err
			}
		}
	}
	return nil
}

// validateResources validates an element that may be a resource, or a list of them.
func (s *schemaTypes) validateResources(v any) error {
	if list, ok := v.([]any); ok {
		for _, one := range list {
			if err := s.validateResources(one); err != nil {
				return err
			}
		}
		return nil
	}
	if object, ok := v.(map[string]any); ok && object["resourceType"] != nil {
		return s.validate(v)
	}
	return s.validateInside(v)
}

func (s *schemaTypes) definition(typ string) (*jsonschema.Schema, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if schema, ok := s.types[typ]; ok {
		return schema, nil
	}
	schema, err := s.compiler.Compile(s.url + "#/definitions/" + typ)
	if err == nil {
		s.types[typ] = schema
	}
	return schema, err
}
