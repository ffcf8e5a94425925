package fetch

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	der  []byte
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-100 * time.Hour), NotAfter: time.Now().Add(24 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return authority{cert, key, der}
}

func (a authority) sign(t *testing.T, ip string, until time.Time) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(2), IPAddresses: []net.IP{net.ParseIP(ip)}, NotBefore: time.Now().Add(-50 * time.Hour), NotAfter: until,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// troubledServers are those of the matrix: the CA that clients know, and a function that starts one.
func troubledServers(t *testing.T) (ca string, start func(*testing.T, *matrix, string) string) {
	known, unknown := newAuthority(t), newAuthority(t)
	later := time.Now().Add(time.Hour)
	good := known.sign(t, "127.0.0.1", later)
	certs := map[string]tls.Certificate{
		"good": good, "expired": known.sign(t, "127.0.0.1", time.Now().Add(-time.Hour)),
		"other name": known.sign(t, "127.0.0.2", later), "unknown CA": unknown.sign(t, "127.0.0.1", later),
	}
	start = func(t *testing.T, m *matrix, name string) string {
		cert, ok := certs[name]
		switch {
		case name == "no TLS":
			return strings.Replace(m.other.URL, "http:", "https:", 1)
		case !ok:
			return newFramer(t, m.away, good, name)
		}
		s := httptest.NewUnstartedServer(m.away)
		s.EnableHTTP2 = true
		s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
		s.Config.ErrorLog = log.New(io.Discard, "", 0)
		s.StartTLS()
		t.Cleanup(s.Close)
		return s.URL
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: known.der})), start
}

// framer is an HTTP/2 server frame by frame, for what net/http would not do.
type framer struct {
	site http.Handler
	how  string
	n    atomic.Int32 // requests so far
}

func newFramer(t *testing.T, site http.Handler, cert tls.Certificate, how string) string {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	f := &framer{site: site, how: how}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go f.serve(conn)
		}
	}()
	return "https://" + l.Addr().String()
}

func (f *framer) serve(conn net.Conn) {
	defer conn.Close()
	preface := make([]byte, len(http2.ClientPreface))
	if _, err := io.ReadFull(conn, preface); err != nil {
		return
	}
	fr := http2.NewFramer(conn, conn)
	fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	if fr.WriteSettings() != nil {
		return
	}
	for {
		frame, err := fr.ReadFrame()
		if err != nil {
			return
		}
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if !frame.IsAck() {
				err = fr.WriteSettingsAck()
			}
		case *http2.MetaHeadersFrame:
			if !f.answer(fr, frame) {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// answer one request; false closes the connection.
func (f *framer) answer(fr *http2.Framer, req *http2.MetaHeadersFrame) bool {
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodGet, req.PseudoValue("path"), nil)
	for _, field := range req.RegularFields() {
		if field.Name != "range" { // it knows no ranges
			r.Header.Add(field.Name, field.Value)
		}
	}
	f.site.ServeHTTP(w, r)
	body, bad := w.Body.Bytes(), f.n.Add(1) == 1 || f.how == "rst always"
	if bad && f.how == "goaway first" {
		_ = fr.WriteGoAway(0, http2.ErrCodeNo, nil)
		return false
	}
	var head bytes.Buffer
	enc := hpack.NewEncoder(&head)
	for _, h := range [][2]string{{":status", strconv.Itoa(w.Code)}, {"content-type", w.Header().Get("Content-Type")}, {"content-length", strconv.Itoa(len(body))}} {
		_ = enc.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]})
	}
	_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: req.StreamID, BlockFragment: head.Bytes(), EndHeaders: true})
	if bad {
		body = body[:len(body)/2]
	}
	for len(body) > 0 { // within the window that every client begins with, or its updates; these bodies are small enough for Go's
		n := min(len(body), 16<<10)
		if fr.WriteData(req.StreamID, len(body) == n && !bad, body[:n]) != nil {
			return false
		}
		body = body[n:]
	}
	switch {
	case bad && f.how == "goaway middle":
		_ = fr.WriteGoAway(req.StreamID, http2.ErrCodeInternal, nil)
		return false
	case bad:
		_ = fr.WriteRSTStream(req.StreamID, http2.ErrCodeInternal)
	}
	return true
}
