package stage1

import (
	"bytes"
	"io"
	"os"
)

// lineWriter takes the output of an app in pieces of at most one line.
type lineWriter interface {
	// writeLine gets a line without its newline; partial says that the line goes on in the next piece. It may keep a copy of it
	// until flush.
	writeLine(line []byte, partial bool)
	// flush comes when all that was read is delivered: who waits for a line gets it now.
	flush()
}

// maxLine is where a longer line is cut into pieces, so that an app that never ends a line costs bounded memory.
const maxLine = 16 << 10

// copyLines cuts what it reads into lines until the end of the stream. A sink that fails loses its copy; the app
// never notices.
func copyLines(r io.Reader, sinks []lineWriter) {
	buf := make([]byte, 0, maxLine)
	for {
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		buf = buf[:copy(buf, deliver(buf, err != nil, sinks))]
		for _, s := range sinks {
			s.flush()
		}
		if err != nil {
			return
		}
	}
}

// deliver hands on the complete lines of buf, and the rest where the buffer is full or the stream is over. It returns what is to be kept.
func deliver(buf []byte, end bool, sinks []lineWriter) []byte {
	for {
		i := bytes.IndexByte(buf, '\n')
		switch {
		case i >= 0:
			for _, s := range sinks {
				s.writeLine(buf[:i], false)
			}
			buf = buf[i+1:]
		case len(buf) == maxLine || end && len(buf) > 0:
			for _, s := range sinks {
				s.writeLine(buf, true)
			}
			return nil
		default:
			return buf
		}
	}
}

// prefixer copies lines to the caller, each with the app's name before it. Several that come together are one write, no longer than what
// a pipe takes at once (PIPE_BUF): other apps write there too, and nobody's line is torn.
type prefixer struct {
	to     *os.File
	prefix string
	middle bool // of a line that is being written in pieces
	buf    []byte
}

const pipeBuf = 4096

func (p *prefixer) writeLine(line []byte, partial bool) {
	if len(p.buf)+len(p.prefix)+len(line)+1 > pipeBuf {
		p.flush()
	}
	if !p.middle {
		p.buf = append(p.buf, p.prefix...)
	}
	p.buf = append(p.buf, line...)
	if !partial {
		p.buf = append(p.buf, '\n')
	}
	p.middle = partial
}

func (p *prefixer) flush() {
	if len(p.buf) > 0 {
		_, _ = p.to.Write(p.buf) // a caller that went away is no reason to stop the pod
		p.buf = p.buf[:0]
	}
}
