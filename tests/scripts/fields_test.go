package scripts

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// fields runs a command that prints JSON, and requires the fields that FILE lists, a line each with its type: those of the elements of
// lists are below "[]". Others may be there.
func fields(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, len(args) > 1, "fields FILE COMMAND...")
	if code := run(ts, args[1:]); code != 0 {
		ts.Fatalf("exit code %d\n%s", code, ts.ReadFile("stderr"))
	}
	var v any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &v))
	got := map[string]bool{}
	addFields(got, "", v)
	for want := range strings.Lines(ts.ReadFile(args[0])) {
		if want = strings.TrimSpace(want); !got[want] {
			ts.Fatalf("%s: no field %q in:\n%s", args[0], want, strings.Join(slices.Sorted(maps.Keys(got)), "\n"))
		}
	}
}

func addFields(fields map[string]bool, path string, v any) {
	switch v := v.(type) {
	case []any:
		fields[strings.TrimSpace(path+" list")] = true
		for _, item := range v {
			addFields(fields, path+"[]", item)
		}
	case map[string]any:
		fields[strings.TrimSpace(path+" object")] = true
		for key, item := range v {
			addFields(fields, path+"."+key, item)
		}
	case float64:
		fields[path+" number"] = true
	default:
		fields[path+" "+fmt.Sprintf("%T", v)] = true
	}
}
