package main

import (
	"context"
	"encoding/json"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// ttl is how long an announcement holds that is not repeated.
const ttl = 5 * time.Second

// redirect dials one address, whatever is asked for.
type redirect struct{ addr string }

func (r *redirect) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, network, r.addr)
}

// discovery stands where BlaBlaCar has ZooKeeper: instances announce themselves, and whoever routes is told of changes.
//
//	PUT    /services/SERVICE/INSTANCE   {"address": ..., "port": ...}; to be repeated before ttl is over
//	DELETE /services/SERVICE/INSTANCE
//	GET    /services/SERVICE?index=N    answers when the state is another than N, or after 30 s
type discovery struct {
	mu       sync.Mutex
	index    int
	changed  chan struct{} // closed at the next change
	services map[string]map[string]announced
	server   *http.Server
}

type announced struct {
	Address string `json:"address"`
	Port    int    `json:"port"`
	seen    time.Time
}

func startDiscovery() (*discovery, error) {
	d := &discovery{index: 1, changed: make(chan struct{}), services: map[string]map[string]announced{}}
	l, err := net.Listen("tcp", gateway+":2181")
	if err != nil {
		return nil, err
	}
	d.server = &http.Server{Handler: d, ErrorLog: log.New(io.Discard, "", 0), ReadHeaderTimeout: time.Minute}
	go func() { _ = d.server.Serve(l) }()
	go d.expire()
	return d, nil
}

func (d *discovery) stop() { _ = d.server.Close() }

// expire forgets who has not been heard of, for as long as the program runs.
func (d *discovery) expire() {
	for range time.Tick(time.Second) {
		d.mu.Lock()
		for _, s := range d.services {
			for name, a := range s {
				if time.Since(a.seen) > ttl {
					delete(s, name)
					d.tell()
				}
			}
		}
		d.mu.Unlock()
	}
}

// tell wakes who waits; the lock is held.
func (d *discovery) tell() {
	d.index++
	close(d.changed)
	d.changed = make(chan struct{})
}

// announced returns who is announced, of all services: the instance and its address.
func (d *discovery) announced() map[string]string {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := map[string]string{}
	for _, s := range d.services {
		for name, a := range s {
			out[name] = a.Address
		}
	}
	return out
}

func (d *discovery) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	part := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	switch {
	case r.Method == http.MethodGet && len(part) == 2:
		d.get(w, r, part[1])
	case r.Method == http.MethodPut && len(part) == 3:
		var a announced
		if err := json.NewDecoder(r.Body).Decode(&a); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		a.seen = time.Now()
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.services[part[1]] == nil {
			d.services[part[1]] = map[string]announced{}
		}
		if _, known := d.services[part[1]][part[2]]; !known {
			d.tell()
		}
		d.services[part[1]][part[2]] = a
	case r.Method == http.MethodDelete && len(part) == 3:
		d.mu.Lock()
		defer d.mu.Unlock()
		if _, known := d.services[part[1]][part[2]]; known {
			delete(d.services[part[1]], part[2])
			d.tell()
		}
	default:
		http.NotFound(w, r)
	}
}

func (d *discovery) get(w http.ResponseWriter, r *http.Request, service string) {
	index, _ := strconv.Atoi(r.FormValue("index")) // none: answer at once
	timeout := time.After(30 * time.Second)
	for waiting := true; waiting; {
		d.mu.Lock()
		now, changed := d.index, d.changed
		d.mu.Unlock()
		if now != index {
			break
		}
		select {
		case <-changed:
		case <-timeout:
			waiting = false
		case <-r.Context().Done():
			return
		}
	}
	d.mu.Lock()
	answer := map[string]any{"index": d.index, "instances": maps.Clone(d.services[service])}
	d.mu.Unlock()
	_ = json.NewEncoder(w).Encode(answer)
}
