package cli

import (
	"os"
	"testing"

	"github.com/spf13/pflag"
)

// BenchmarkParse is what a command line costs before anything is done: part of every run.
func BenchmarkParse(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		e := &env{stdin: os.Stdin, stdout: &results{File: os.Stdout}, stderr: os.Stderr, insecure: insecure{}}
		addVerbs(newRoot(e), e, "run")
	}
}

func BenchmarkRunLine(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		var o podOptions
		fs := pflag.NewFlagSet("pod", pflag.ContinueOnError)
		o.addFlags(fs)
		if _, err := parseRunLine([]string{"--net=none", "busybox", "--", "true"}, fs, newAppFlags); err != nil {
			b.Fatal(err)
		}
	}
}
