package fetch

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

// TestRedirectTwice: credentials stay with the server that they are for, also when the other one redirects within itself. (net/http gives
// every request the headers of the first.)
func TestRedirectTwice(t *testing.T) {
	seen := map[string]string{}
	note := func(r *http.Request) { seen[r.URL.Path] = r.Header.Get("Authorization") }
	var other *httptest.Server
	other = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if note(r); r.URL.Path == "/second" {
			http.Redirect(w, r, other.URL+"/third", http.StatusFound)
		}
	}))
	defer other.Close()
	first := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		note(r)
		http.Redirect(w, r, other.URL+"/second", http.StatusFound)
	}))
	defer first.Close()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, first.URL+"/first", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("user", "secret")
	resp, err := newHTTPClient(http.DefaultTransport).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if seen["/first"] == "" || seen["/second"] != "" || seen["/third"] != "" || len(seen) != 3 {
		t.Errorf("credentials went out as %q", seen)
	}
}
