package main

import (
	"strings"
	"testing"
)

// What failed is at the end, once, with its last words; what passed is one line.
func TestReport(t *testing.T) {
	const events = `{"Action":"start","Package":"p/good"}
{"Action":"output","Package":"p/good","Test":"TestA","Output":"=== RUN   TestA\n"}
{"Action":"output","Package":"p/good","Test":"TestA","Output":"    a_test.go:1: a log\n"}
{"Action":"pass","Package":"p/good","Test":"TestA"}
{"Action":"output","Package":"p/good","Test":"TestB","Output":"    a_test.go:2: no such kernel\n"}
{"Action":"skip","Package":"p/good","Test":"TestB"}
{"Action":"output","Package":"p/good","Output":"PASS\n"}
{"Action":"output","Package":"p/good","Output":"ok  \tp/good\t0.1s\n"}
{"Action":"pass","Package":"p/good"}
{"Action":"output","Package":"p/bad","Test":"TestC/sub","Output":"        c_test.go:3: want 1\n"}
{"Action":"fail","Package":"p/bad","Test":"TestC/sub"}
{"Action":"fail","Package":"p/bad","Test":"TestC"}
{"Action":"output","Package":"p/bad","Output":"FAIL\tp/bad\t0.1s\n"}
{"Action":"fail","Package":"p/bad"}
{"ImportPath":"p/broken","Action":"build-output","Output":"x.go:1: syntax error\n"}
{"ImportPath":"p/broken","Action":"build-fail"}
go: a word of go's own
`
	var out strings.Builder
	r := newReport(&out)
	r.read(strings.NewReader(events))
	r.end()
	const want = `ok  	p/good	0.1s
        c_test.go:3: want 1
FAIL	p/bad	0.1s
x.go:1: syntax error
go: a word of go's own
skipped: p/good TestB: a_test.go:2: no such kernel

== FAILED: p/bad TestC/sub
        c_test.go:3: want 1

== FAILED: p/broken
x.go:1: syntax error
`
	if out.String() != want || !r.failed() {
		t.Errorf("got:\n%s\nwant:\n%s", out.String(), want)
	}
}
