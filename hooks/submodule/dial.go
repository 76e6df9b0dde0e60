package submodule

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"golang.org/x/crypto/ssh"

	"slipway/builder/sshclient"
	"slipway/config"
)

// dial makes a connection whose host key is the pinned one, proved before
// anything of ours is sent.
func dial(ctx context.Context, src *config.Source, url config.SourceURL, now func() time.Time) (*ssh.Client, error) {
	user := url.User()
	if user == "" {
		user = "git"
	}
	client, err := sshclient.Dial(ctx, sshclient.Endpoint{
		Host:       config.Host{User: user, Name: url.Host(), Port: url.Port()},
		Identity:   src.Identity,
		KnownHosts: src.KnownHosts,
		What:       "source",
		Whose:      address(src.URL),
		Key:        "the key of source " + address(src.URL),
		NoIdentity: `an admin sets identity = "keys/NAME" in that [[sources]]`,
		NotTaken:   "an admin adds " + filepath.Base(src.Identity) + ".pub to that server, for user " + user,
	}, nil, sshclient.Options{Dialer: dialer(url), Timeout: dialTime, Now: now})
	var guarded *sourceError
	var no *sshclient.Error
	switch {
	case err == nil:
		return client, nil
	case errors.As(err, &guarded): // by the dialer
		return nil, guarded
	case errors.As(err, &no) && !no.Unreachable():
		return nil, &sourceError{err: no.Err, detail: no.Detail}
	case no != nil:
		return nil, &unreachableError{url.Addr(), no.Why}
	}
	return nil, &unreachableError{url.Addr(), "given up"} // nobody waits for it any more
}
