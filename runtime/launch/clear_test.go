package launch_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// What is wrong with an image or a command line is said in one line, in its words.
func TestClearErrors(t *testing.T) {
	p := newPod(t)
	p.must(os.Mkdir(filepath.Join(p.rootfs(), "etc/hosts"), 0o755))
	hosts := filepath.Join(p.dir, "hosts")
	p.must(os.WriteFile(hosts, []byte("127.0.0.1 here\n"), 0o644))
	tests := []struct {
		name  string
		edit  func(*specs.Spec)
		files map[string]string
		want  string
	}{
		{"working directory is a file", func(s *specs.Spec) { s.Process.Cwd = "/etc/passwd" }, nil, "working directory /etc/passwd: /etc/passwd is not a directory"},
		{"working directory is below a file", func(s *specs.Spec) { s.Process.Cwd = "/etc/passwd/below" }, nil, "working directory /etc/passwd/below: /etc/passwd is not a directory"},
		{"no such sysctl", func(s *specs.Spec) { s.Linux.Sysctl = map[string]string{"net.nosuch": "1"} }, nil,
			"sysctl net.nosuch: no such file or directory: the namespaces of the pod have no such parameter"},
		{"value of a sysctl", func(s *specs.Spec) { s.Linux.Sysctl = map[string]string{"net.ipv4.ip_forward": "x"} }, nil,
			`sysctl net.ipv4.ip_forward = "x": invalid argument`},
		{"file on a directory", func(s *specs.Spec) {
			s.Mounts = append(s.Mounts, specs.Mount{Destination: "/etc", Type: "bind", Source: "/etc/passwd", Options: []string{"bind"}})
		}, nil, `mount "/etc/passwd" on "/etc": one is a directory, and the other is not`},
		{"too many groups", func(s *specs.Spec) {
			s.Process.User.AdditionalGids = make([]uint32, 70_000)
		}, nil, "the user is in 70000 groups, of which the kernel takes 65536"},
		{"file over a directory", nil, map[string]string{"/etc/hosts": hosts}, "mount /etc/hosts: the image has a directory there"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			app := p.app("app", tc.edit, "true")
			app.Files = tc.files
			code, out := p.runApp(app)
			if code != 254 || out != tc.want {
				t.Errorf("got exit code %d and\n%s\nwant\n%s", code, out, tc.want)
			}
			p.wantNothing(t, "app")
		})
	}
}
