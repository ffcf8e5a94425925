package pods

import "testing"

func TestParseStart(t *testing.T) {
	got, err := parseStart("42 (a ) b (c)) S 1 42 42 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 98765 0 0")
	if err != nil || got != 98765 {
		t.Errorf("%d, %v", got, err)
	}
	if _, err := parseStart("nonsense"); err == nil {
		t.Error("nonsense is a start time")
	}
}
