package stage1

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gantryrun/gantry/pods"
)

func TestLevels(t *testing.T) {
	type apps []*pods.App
	for _, c := range []struct {
		name string
		apps apps
		want [][]string
		err  string
	}{
		{"none", nil, nil, ""},
		{"independent", apps{{Name: "a"}, {Name: "b"}}, [][]string{{"a", "b"}}, ""},
		{"the announcer after the app", apps{{Name: "nerve", After: []string{"app"}}, {Name: "app"}}, [][]string{{"app"}, {"nerve"}}, ""},
		{"diamond", apps{{Name: "d", After: []string{"b", "c"}}, {Name: "b", After: []string{"a"}}, {Name: "c"}, {Name: "a"}}, [][]string{{"c", "a"}, {"b"}, {"d"}}, ""},
		{"circle", apps{{Name: "a", After: []string{"b"}}, {Name: "b", After: []string{"a"}}}, nil, "starts after itself"},
		{"itself", apps{{Name: "a", After: []string{"a"}}}, nil, "starts after itself"},
		{"unknown", apps{{Name: "a", After: []string{"x"}}}, nil, `"x", which the pod does not have`},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := levels(c.apps)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("error %v, want %q in it", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var names [][]string
			for _, l := range got {
				var row []string
				for _, a := range l {
					row = append(row, a.Name)
				}
				names = append(names, row)
			}
			if diff := cmp.Diff(c.want, names); diff != "" {
				t.Error(diff)
			}
		})
	}
}
