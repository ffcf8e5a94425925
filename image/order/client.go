package order

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"github.com/gantryrun/gantry/image"
	"github.com/gantryrun/gantry/image/strictjson"
	"github.com/gantryrun/gantry/image/trust"
)

// Client gives orders, each to a gantry-fetch of its own. It may be used by several goroutines.
type Client struct {
	Settings
	// Path of gantry-fetch.
	Path string
	// Stdin may be what is fetched, by its name in /dev. Stderr gets what gantry-fetch says when it crashes.
	Stdin, Stderr *os.File
	// Progress, if set, is called with what happens meanwhile, from one goroutine for each order.
	Progress func(Event)
}

// Fetch brings the image that ref names into the store, and gives it that name. It is idempotent. Its errors are those that
// package fetch gives, in their words.
func (c *Client) Fetch(ctx context.Context, ref image.Ref, opts Options) error {
	if n, ok := strings.CutPrefix(opts.Signature, "/dev/fd/"); ok { // a descriptor of ours, as <(...) of a shell names it
		opts.Signature = fmt.Sprintf("/proc/%d/fd/%s", os.Getpid(), n)
	}
	_, err := c.give(ctx, Order{Fetch: &Fetch{Ref: ref, Options: opts}, Events: c.Progress != nil}, nil)
	return err
}

// Repair puts right what Store.Verify found of img.
func (c *Client) Repair(ctx context.Context, img *image.Image, problems []image.Problem) error {
	stored, err := storedAs(img)
	if err == nil {
		_, err = c.give(ctx, Order{Repair: &Repair{Stored: stored, Problems: problems}}, nil)
	}
	return err
}

// Export writes img to w, as an OCI archive.
func (c *Client) Export(ctx context.Context, img *image.Image, w io.Writer) error {
	stored, err := storedAs(img)
	if err != nil {
		return err
	}
	to := &sink{w: w}
	_, err = c.give(ctx, Order{Export: &Export{stored}}, to)
	if err != nil && to.err != nil { // gantry-fetch knows of a broken pipe only
		err = fmt.Errorf("export image %s: %w", img.ID, to.err)
	}
	return err
}

// storedAs finds img again: by its name, if it was got by that, or has no other.
func storedAs(img *image.Image) (s Stored, err error) {
	name := img.ID.String()
	if len(img.Names) == 1 {
		name = img.Names[0]
	}
	s.Ref, err = image.ParseRef(name)
	return s, err
}

// sink remembers why it could not be written to.
type sink struct {
	w   io.Writer
	err error
}

func (s *sink) Write(data []byte) (int, error) {
	n, err := s.w.Write(data)
	s.err = errors.Join(s.err, err)
	return n, err
}

// Keys reads public keys. trust.ErrKey says that one is none.
func (c *Client) Keys(ctx context.Context, files []Key) ([]trust.Key, error) {
	result, err := c.give(ctx, Order{Keys: files}, nil)
	if err == nil && len(result.Keys) != len(files) {
		err = fmt.Errorf("%s has read %d keys of %d", Program, len(result.Keys), len(files))
	}
	for i := range result.Keys {
		result.Keys[i].Data = files[i].Data
	}
	return result.Keys, err
}

// give starts gantry-fetch, and waits until it has ended, and what it wrote to stdout is written.
func (c *Client) give(ctx context.Context, o Order, stdout io.Writer) (result Result, err error) {
	if err := ctx.Err(); err != nil {
		return result, err
	}
	o.Version, o.Settings = version, c.Settings
	orderOut, orderIn, err := os.Pipe()
	if err != nil {
		return result, err
	}
	defer orderIn.Close()
	answers, answersIn, err := os.Pipe()
	if err != nil {
		return result, errors.Join(err, orderOut.Close())
	}
	defer answers.Close()
	cmd := exec.Command(c.Path) //nolint:noctx // it is asked to end, and not killed
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.Stdin, stdout, c.Stderr
	cmd.ExtraFiles = []*os.File{orderOut, answersIn}
	err = cmd.Start()
	_, _ = orderOut.Close(), answersIn.Close()
	if err != nil {
		return result, fmt.Errorf("start %s: %w", Program, err)
	}
	defer context.AfterFunc(ctx, func() { orderIn.Close() })()
	_ = json.NewEncoder(orderIn).Encode(o) // who does not take it does not answer it either
	result, err = c.listen(answers)
	_, _ = orderIn.Close(), answers.Close()
	ended := cmd.Wait()
	switch {
	case !errors.Is(err, io.ErrUnexpectedEOF):
		return result, err
	case ended == nil:
		return result, fmt.Errorf("%s has ended without an answer", Program)
	default:
		return result, fmt.Errorf("%s has ended without an answer: %w", Program, ended)
	}
}

// listen reads answers up to the outcome. io.ErrUnexpectedEOF: there was none.
func (c *Client) listen(answers io.Reader) (Result, error) {
	r := bufio.NewReader(answers)
	for {
		line, err := r.ReadBytes('\n')
		if err != nil {
			return Result{}, io.ErrUnexpectedEOF
		}
		var a answer
		if err := strictjson.Decode(line, &a); err != nil {
			return Result{}, otherVersion(err)
		}
		switch {
		case a.Error != nil:
			return Result{}, a.Error
		case a.Done != nil:
			return *a.Done, nil
		case a.Event != nil && c.Progress != nil:
			c.Progress(*a.Event)
		}
	}
}

// otherVersion is the error of one who is not understood.
func otherVersion(err error) error {
	return fmt.Errorf("gantry and %s are of different versions, install both from one: %w", Program, err)
}
