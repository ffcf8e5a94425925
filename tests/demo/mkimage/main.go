// Command mkimage packs one static program into an OCI archive: the demo's image.
//
//	mkimage -o ARCHIVE PROGRAM
package main

import (
	"flag"
	"fmt"
	"os"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/gantryrun/gantry/tests/ociimage"
)

func main() {
	out := flag.String("o", "", "the archive to write")
	flag.Parse()
	if err := run(*out, flag.Arg(0)); err != nil {
		fmt.Fprintf(os.Stderr, "mkimage: %v\n", err)
		os.Exit(1)
	}
}

func run(out, program string) error {
	body, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	layer, err := ociimage.Layer(
		ociimage.Dir("etc"), ociimage.File("etc/passwd", "web:x:1000:1000:web:/:/web\n"), ociimage.File("etc/group", "web:x:1000:\n"),
		ociimage.Exec("web", body),
	)
	if err != nil {
		return err
	}
	img, err := ociimage.Image(v1.Config{
		Entrypoint: []string{"/web"}, User: "web", WorkingDir: "/",
		ExposedPorts: map[string]struct{}{"8080/tcp": {}},
	}, layer)
	if err != nil {
		return err
	}
	return ociimage.WriteArchive(out, img, "demo")
}
