// Package order is how gantry has done what it is too small for itself: it starts gantry-fetch, hands it one order, and gets
// events and an outcome back.
//
// It knows what is said between the two, and nothing of how an order is carried out: registries, archives, compression, keys and
// all that these link are gantry-fetch's, so that commands which need none of it start without them. It never stores anything.
//
//	gantry                                        gantry-fetch
//	  │ one order, a line of JSON, descriptor 3 ──────▶ │
//	  │ ◀────── descriptor 4, lines: an event, an event,│ …
//	  │ ◀────────────────── done, or an error, and ends │
//	  │ ◀───────────── stdout, where an archive is asked for
//
// Invariant: when gantry ends, in whatever way, or wants the order no more, descriptor 3 is at its end, and gantry-fetch
// stops between two steps, as it does for any other error.
package order

import (
	"github.com/opencontainers/go-digest"

	"github.com/gantryrun/gantry/image"
	"github.com/gantryrun/gantry/image/trust"
)

// Program is the name of the program that takes orders.
const Program = "gantry-fetch"

// version of what is said. It changes where an older program would not refuse what a newer one says, but misread it.
const version = 1

// Descriptors of gantry-fetch.
const (
	orderFD   = 3
	answersFD = 4
)

// Settings are the global flags and the configuration, as far as they matter to orders.
type Settings struct {
	// Dir and Backend of the store.
	Dir     string        `json:"dir"`
	Backend image.Backend `json:"backend"`
	// InsecureHTTP, InsecureTLS and InsecureImage are --insecure-options=http, tls and image.
	InsecureHTTP  bool     `json:"insecureHTTP,omitempty"`
	InsecureTLS   bool     `json:"insecureTLS,omitempty"`
	InsecureImage bool     `json:"insecureImage,omitempty"`
	ConfigDirs    []string `json:"configDirs"`
}

// Order is one of Fetch, Repair, Export and Keys, and where.
type Order struct {
	Version int `json:"version"`
	Settings
	Fetch  *Fetch  `json:"fetch,omitempty"`
	Repair *Repair `json:"repair,omitempty"`
	Export *Export `json:"export,omitempty"`
	Keys   []Key   `json:"keys,omitempty"`
	// Events: somebody wants to know how far it is.
	Events bool `json:"events,omitempty"`
}

// Fetch an image into the store. What is not there of Options is the default.
type Fetch struct {
	Ref image.Ref `json:"ref"`
	Options
}

// Options of a fetch. The zero value is the default.
type Options struct {
	// Platform "os/arch[/variant]"; default this machine's.
	Platform string `json:"platform,omitempty"`
	// KeepBlobs keeps compressed layers as they came, for a bit-exact export.
	KeepBlobs bool `json:"keepBlobs,omitempty"`
	// AllowRollback lets a tag lead back to what it led to before.
	AllowRollback bool `json:"allowRollback,omitempty"`
	// Name is what an image of this machine is called instead of its reference.
	Name image.Ref `json:"name,omitzero"`
	// Signature is a file with the OpenPGP signature of an ACI, instead of the one that lies beside it.
	Signature string `json:"signature,omitempty"`
}

// Stored is an image of the store, by the name that it was got by, or its ID.
type Stored struct {
	Ref image.Ref `json:"ref"`
}

// Repair what Store.Verify has found of a stored image.
type Repair struct {
	Stored
	Problems []image.Problem `json:"problems"`
}

// Export a stored image as an OCI archive, to stdout.
type Export struct{ Stored }

// Key is a file in which one public key should be. File is its name, for errors.
type Key struct {
	File string `json:"file"`
	Data []byte `json:"data"`
}

// Event is a step of a fetch. A layer's events carry its digest, and Done and Total in bytes as transferred.
type Event struct {
	Digest digest.Digest `json:"digest,omitempty"` // empty: the image as a whole
	Status string        `json:"status"`           // resolving, downloading, exists, done, committing
	Done   int64         `json:"done,omitempty"`
	Total  int64         `json:"total,omitempty"`
}

// Result of an order that was carried out: of Keys the keys, in their order.
type Result struct {
	Keys []trust.Key `json:"keys,omitempty"`
}

// answer is an event, or the outcome, after which nothing comes.
type answer struct {
	Event *Event  `json:"event,omitempty"`
	Done  *Result `json:"done,omitempty"`
	Error *failed `json:"error,omitempty"`
}
