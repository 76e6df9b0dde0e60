// Package receiver is the door: it proves who calls over SSH and runs git or a
// command for them. It knows nothing of builds, nor of what commands do.
package receiver

import (
	"context"
	"net"
	"time"

	gossh "golang.org/x/crypto/ssh"

	"github.com/rs/zerolog"

	"slipway/builder"
	"slipway/config"
	"slipway/store"
)

// Options wire a Server. All fields but Authorities, Listener and Listen are required; one
// of these two is.
type Options struct {
	Listener net.Listener // an open one, which the Server then owns
	Listen   string       // host:port to open, where Listener is nil
	HostKey  gossh.Signer
	Limits   func() Limits // the ones in force, which SIGHUP may change
	Keys     KeyStore

	// Authorities are those in force whose user certificates let in; nil is
	// none. SIGHUP may change them.
	Authorities func() []gossh.PublicKey

	// Git serves a git client to its end and returns the exit status. It is
	// called only with a request that is valid and a caller who holds a key;
	// whether that caller may is for Git to say, by Refuse.
	Git func(ctx context.Context, r GitRequest, io Stdio) int

	// Command runs everything else and returns the exit status. No words are
	// the greeting. With a terminal, RawIn and RawOut give its bytes as they
	// are.
	Command func(ctx context.Context, c store.Caller, argv []string, io Stdio, tty *builder.Terminal) int

	Log zerolog.Logger
	Now func() time.Time
}

// Limits bound what strangers and callers may take.
type Limits struct {
	Handshake   time.Duration // from accept to a proved key
	Connections int           // at once, proved or not
}

// KeyStore is what the door asks of the store.
type KeyStore interface {
	KeyByBlob(ctx context.Context, blob []byte) (*store.Key, error) // nil, nil if none
	KeyByName(ctx context.Context, name string) (*store.Key, error) // nil, nil if none
	AddAttempt(ctx context.Context, a store.Attempt) error
}

// Stdio is where a session reads and writes. In ends when the client closes
// its side or goes away; nobody waits for it, so a handler that copies from it
// must not join that copier.
type Stdio = builder.Stdio

// Service is what a git client asks for.
type Service string

const (
	ReceivePack Service = "receive-pack" // git push
	UploadPack  Service = "upload-pack"  // git fetch, git clone
)

// GitRequest is one git client's wish.
type GitRequest struct {
	Caller   store.Caller
	Service  Service
	Repo     config.AppEnv
	Protocol string // for GIT_PROTOCOL: "", version=0, version=1 or version=2
}
