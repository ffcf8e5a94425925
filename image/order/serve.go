package order

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/gantryrun/gantry/image/strictjson"
)

// Serve takes the one order that gantry-fetch was started with, has it done, and says how it went. The context ends when
// gantry has; say may be called from several goroutines. An error means that there was no order.
func Serve(do func(ctx context.Context, o *Order, say func(Event)) (Result, error)) error {
	in, out := os.NewFile(orderFD, "order"), os.NewFile(answersFD, "answers")
	if info, err := in.Stat(); err != nil || info.Mode()&fs.ModeNamedPipe == 0 {
		return errors.New("it is gantry that starts this program")
	}
	r := bufio.NewReader(in)
	line, err := r.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("read order: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, r) // nothing follows but the end
		cancel()
	}()
	s := &speaker{out: json.NewEncoder(out), last: map[digest.Digest]said{}}
	o, err := decode(line)
	var result Result
	if err == nil {
		say := s.event
		if !o.Events {
			say = func(Event) {}
		}
		result, err = do(ctx, o, say)
	}
	if err != nil {
		s.say(answer{Error: failure(err)})
	} else {
		s.say(answer{Done: &result})
	}
	return nil
}

func decode(line []byte) (*Order, error) {
	var o Order
	if err := strictjson.Decode(line, &o); err != nil {
		return nil, otherVersion(err)
	}
	if o.Version != version {
		return nil, otherVersion(fmt.Errorf("order of version %d, %d expected", o.Version, version))
	}
	return &o, nil
}

// speaker sends answers, one at a time.
type speaker struct {
	mu   sync.Mutex
	out  *json.Encoder
	last map[digest.Digest]said
}

// said is the last event of a layer that was sent.
type said struct {
	status string
	at     time.Time
}

// pause between two events of a layer of which only the bytes have grown: oftener than anybody is shown them.
const pause = 50 * time.Millisecond

// event sends e, unless there was one like it just now. It may be called from several goroutines.
func (s *speaker) event(e Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if before := s.last[e.Digest]; before.status == e.Status && now.Sub(before.at) < pause {
		return
	}
	s.last[e.Digest] = said{e.Status, now}
	s.send(answer{Event: &e})
}

func (s *speaker) say(a answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.send(a)
}

// send may fail: whoever was to be told is gone then, and there is nobody else.
func (s *speaker) send(a answer) { _ = s.out.Encode(a) }
