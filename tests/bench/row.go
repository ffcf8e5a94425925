package main

import (
	"fmt"
	"strings"
)

// row is a case with its results, gantry's first.
type row struct {
	name   string
	unit   string // "ms", "s", "kB", "MB", "1/s" or "Gbit/s"
	limits []limit
	rounds int
	lines  []line
}

type line struct {
	who   string
	value float64 // median
}

// limit is a target: the largest value, or, with against, the largest ratio to that contender's; of a throughput the smallest.
type limit struct {
	against string
	value   float64
}

func atMost(v float64) limit                { return limit{"", v} }
func ratio(against string, v float64) limit { return limit{against, v} }
func (r row) larger() bool                  { return r.unit == "Gbit/s" } // is better
func (r row) meets(v float64, l limit) bool {
	return v <= l.value && !r.larger() || v >= l.value && r.larger()
}

func (r row) format(v float64) string {
	switch r.unit {
	case "s":
		return fmt.Sprintf("%.2f s", v)
	case "kB", "MB":
		return fmt.Sprintf("%.0f %s", v, r.unit)
	case "1/s", "Gbit/s":
		return fmt.Sprintf("%.2f %s", v, r.unit)
	default:
		return fmt.Sprintf("%.1f ms", v)
	}
}

// targets says, beside line i, which targets were met: those against that contender, beside gantry those of gantry alone.
func (r row) targets(i int) string {
	var texts []string
	for _, l := range r.limits {
		v, sign := r.lines[0].value, "<="
		if r.larger() {
			sign = ">="
		}
		want := sign + " " + r.format(l.value)
		if l.against != "" {
			v, want = v/r.lines[i].value, fmt.Sprintf("%s %.2f x", sign, l.value)
		}
		if i == 0 && l.against == "" || i > 0 && l.against == r.lines[i].who {
			texts = append(texts, verdict(r.meets(v, l), want))
		}
	}
	return strings.Join(texts, "; ")
}

func verdict(met bool, target string) string {
	if met {
		return target + ": met"
	}
	return target + ": **not met**"
}
