package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"
)

// State is what web says of itself at /state.
type State struct {
	Instance   string `json:"instance"`
	Release    string `json:"release"`
	Starts     int    `json:"starts"`     // of this instance, counted in its data volume
	Attributes string `json:"attributes"` // SHA-256 of what arrived in the environment
	Bytes      int    `json:"bytes"`      // and its size
}

// web serves / (which takes ?ms=N milliseconds), /state, /health, /active (requests under way), and /storm?lines=N, which fills the log.
func web(ctx context.Context) error {
	state, err := begin()
	if err != nil {
		return err
	}
	var active atomic.Int64
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		active.Add(1)
		defer active.Add(-1)
		took, err := strconv.Atoi(r.FormValue("ms"))
		if err != nil {
			took = 2
		}
		time.Sleep(time.Duration(took) * time.Millisecond) // a service takes a while
		fmt.Fprintf(w, "%s %s\n", state.Instance, state.Release)
	})
	mux.HandleFunc("/state", func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(state) })
	mux.HandleFunc("/active", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, active.Load()) })
	mux.HandleFunc("/health", func(w http.ResponseWriter, _ *http.Request) {
		if os.Getenv("SICK") != "" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("/storm", func(w http.ResponseWriter, r *http.Request) {
		n, _ := strconv.Atoi(r.FormValue("lines")) // a number that is none is no storm
		for i := range n {
			fmt.Printf("storm %d of %d, %s has much to say and says it again and again\n", i, n, state.Instance)
		}
		fmt.Fprintln(w, n)
	})
	return serve(ctx, ":8080", mux)
}

// begin looks at what the pod was promised: its attributes, and its volumes, each of which does what it is for.
func begin() (*State, error) {
	attributes, err := base64.StdEncoding.DecodeString(os.Getenv("TEMPLATER_OVERRIDE_BASE64"))
	if err != nil {
		return nil, fmt.Errorf("decode attributes: %w", err)
	}
	if !json.Valid(attributes) {
		return nil, fmt.Errorf("attributes did not arrive: %d bytes that are no JSON", len(attributes))
	}
	sum := sha256.Sum256(attributes)
	s := &State{Instance: instance(), Release: os.Getenv("RELEASE"), Attributes: hex.EncodeToString(sum[:]), Bytes: len(attributes)}
	past, err := os.ReadFile("/data/starts")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	past = append(past, '\n')
	s.Starts = bytes.Count(past, []byte("\n"))
	if err := os.WriteFile("/data/starts", past, 0o644); err != nil {
		return nil, err
	}
	if err := os.WriteFile("/log/web.log", []byte("started\n"), 0o644); err != nil {
		return nil, err
	}
	if err := os.WriteFile("/conf/x", nil, 0o644); !errors.Is(err, syscall.EROFS) {
		return nil, errors.Join(errors.New("the configuration is not read-only"), err)
	}
	return s, nil
}
