package launch_test

import (
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// What the kernel would refuse only when the app's own program is to be executed is gantry's failure, not the app's.
func TestArgumentsTooLarge(t *testing.T) {
	const page = 4096
	many := make([]string, 0, 1000)
	for range cap(many) {
		many = append(many, strings.Repeat("x", 2*page))
	}
	tests := []struct {
		name string
		env  []string
		args []string
		edit func(*specs.Spec)
		code int
		want string
	}{
		{"one argument", nil, []string{"true", strings.Repeat("x", 32*page)}, nil, 254, "environment or arguments too large: one of 131072 bytes, of which the kernel takes 131071"},
		{"one variable", []string{"X=" + strings.Repeat("x", 32*page)}, []string{"true"}, nil, 254, "environment or arguments too large: one of 131074 bytes, of which the kernel takes 131071"},
		{"all together", nil, append([]string{"true"}, many...), nil, 254, "environment or arguments too large: 820"},
		{"all together, small stack", nil, append([]string{"true"}, many[:100]...), func(s *specs.Spec) {
			s.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_STACK", Soft: 1 << 20, Hard: 1 << 20}}
		}, 254, "environment or arguments too large: 82"},
		{"longest that is taken", nil, []string{"true", strings.Repeat("x", 32*page-1)}, nil, 0, ""},
	}
	p := newPod(t)
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			code, out := p.run(func(s *specs.Spec) {
				s.Process.Env = append(s.Process.Env, tc.env...)
				if tc.edit != nil {
					tc.edit(s)
				}
			}, tc.args...)
			if code != tc.code || !strings.HasPrefix(out, tc.want) {
				t.Errorf("got exit code %d and %.200q", code, out)
			}
			if code == 254 {
				p.wantNothing(t, "app")
			}
		})
	}
}
