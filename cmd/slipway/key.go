package main

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
	gossh "golang.org/x/crypto/ssh"

	"slipway/config"
	"slipway/store"
)

var keyName = config.NewPattern(`^[a-zA-Z0-9][a-zA-Z0-9._@-]{0,62}$`)

func keyCommands() command {
	return command{name: "key", short: "Public keys that may call", sub: []command{
		{
			name: "add", complete: []completer{keyNames}, args: "NAME [--admin] [--allow 'APP/ENV' ...] [--principal] < key.pub", who: admin, changes: true, min: 1, max: 1,
			short: "Add a public key, or change the rights of one",
			long: "The key is read from standard input, in the form of authorized_keys. For a key that is there already\n" +
				"--admin and --allow replace its rights, without them they stay; with no input NAME's key is meant.\n" +
				"--principal reads no key: NAME calls by certificates of [ssh] user_ca alone, as one of their principals.\n" +
				"Patterns: 'shop/*', '*/dev', '*/*'. A protected environment must be named: 'shop/prod', '*/prod'.",
			flags: func(f *pflag.FlagSet) {
				f.Bool("admin", false, "may manage keys and apps, and deploy what is not protected")
				f.StringArray("allow", nil, "pattern over APP/ENV that it may deploy; may be repeated")
				f.Bool("principal", false, "has no public key of its own, only certificates")
			},
			run: keyAdd,
		},
		{name: "list", short: "List the keys, newest first", who: admin, run: keyList},
		{name: "remove", args: "NAME", complete: []completer{keyNames}, short: "Remove a key; its sessions end", who: admin, changes: true, min: 1, max: 1, run: keyRemove},
		{name: "attempts", short: "List who was turned away, newest first", who: admin, run: keyAttempts},
	}}
}

// maxKey bounds what is read as a public key, in bytes.
const maxKey = 32 << 10

func keyAdd(ctx context.Context, c *call) error {
	name := c.args[0]
	if !keyName.MatchString(name) || name == "local" {
		return config.Errorf(config.Usage, "a letter or digit, then those and . _ @ -, at most 63 in all: such as maria",
			"%s is no name for a key", quoted(name))
	}
	c.detail = name
	rights := store.Key{Admin: c.flag("admin")}
	patterns, err := c.flags.GetStringArray("allow")
	if err != nil {
		return err
	}
	for _, p := range patterns {
		g, err := config.ParseGlob(p)
		if err != nil {
			return err
		}
		if !slices.Contains(rights.Allow, g) {
			rights.Allow = append(rights.Allow, g)
		}
	}
	old, err := c.app.store.KeyByName(ctx, name)
	if err != nil {
		return err
	}
	given := c.flags.Changed("admin") || c.flags.Changed("allow")
	k, err := c.keyMeant(ctx, name, old, given)
	if err != nil {
		return err
	}
	k.Name, k.Admin, k.Allow = name, rights.Admin, rights.Allow
	if old != nil && !given {
		k.Admin, k.Allow = old.Admin, old.Allow
	}
	c.detail = name + " " + known(k) + " " + rightsOf(k)
	added, err := c.app.store.AddKey(ctx, k)
	if err != nil {
		return err
	}
	return c.keyAdded(k, old, added)
}

// keyMeant finds out which key is to be added or changed.
func (c *call) keyMeant(ctx context.Context, name string, old *store.Key, given bool) (store.Key, error) {
	if c.flag("principal") {
		if old != nil && old.Type != store.PrincipalType {
			return store.Key{}, config.Errorf(config.Usage, "leave --principal out: certificates with the principal "+name+" are taken as it is",
				"%s has a public key", name)
		}
		return store.Principal(name), nil
	}
	text, err := c.readAll(ctx, maxKey)
	if err != nil {
		return store.Key{}, err
	}
	if old != nil && given && len(bytes.TrimSpace(text)) == 0 {
		return *old, nil
	}
	return parseKey(text)
}

// known is what people compare to tell one key from another.
func known(k store.Key) string {
	if k.Type == store.PrincipalType {
		return "by certificate"
	}
	return k.Fingerprint
}

// keyAdded says what was done.
func (c *call) keyAdded(k store.Key, old *store.Key, added bool) error {
	if c.flag("json") {
		return writeJSON(c.io.Out, asKey(k))
	}
	text := "key " + k.Name + " is added: " + rightsOf(k) + " (" + known(k) + ")"
	if !added {
		text = "key " + k.Name + " is there already: " + rightsOf(k) + " (" + known(k) + ")"
		if old != nil && rightsOf(*old) != rightsOf(k) {
			text = "key " + k.Name + " has new rights: " + rightsOf(k) + "; they were: " + rightsOf(*old)
		}
	}
	if err := c.say("%s", text); err != nil {
		return err
	}
	if k.Admin || len(k.Allow) > 0 {
		return nil
	}
	return c.say("hint: it may deploy nothing yet: key add %s --allow 'APP/ENV', or --admin", k.Name)
}

func rightsOf(k store.Key) string {
	var all []string
	if k.Admin {
		all = append(all, "admin")
	}
	for _, g := range k.Allow {
		all = append(all, g.String())
	}
	if len(all) == 0 {
		return "no rights"
	}
	return strings.Join(all, ", ")
}

// parseKey reads one line of an authorized_keys file, without options.
func parseKey(text []byte) (store.Key, error) {
	const hint = "the public half goes to standard input: key add NAME < ~/.ssh/id_ed25519.pub"
	refuse := func(hint, format string, a ...any) (store.Key, error) {
		return store.Key{}, config.Errorf(config.Usage, hint, format, a...)
	}
	switch {
	case bytes.Contains(text, []byte("PRIVATE KEY")) || bytes.Contains(text, []byte("PuTTY-User-Key-File")):
		return refuse("it has been shown, so make a new pair with ssh-keygen -t ed25519, and give its .pub file",
			"that is a private key; nothing was kept of it")
	case bytes.Contains(text, []byte("BEGIN SSH2 PUBLIC KEY")):
		return refuse("ssh-keygen -i -f FILE turns it into the form of authorized_keys", "that is a public key in another form")
	case len(text) > maxKey:
		return refuse(hint, "that is longer than a key can be")
	}
	var line []byte
	for l := range bytes.Lines(text) {
		if l = bytes.TrimSpace(l); len(l) == 0 || l[0] == '#' {
			continue
		}
		if line != nil {
			return refuse("give one key at a time, each under a name of its own", "there is more than one line on standard input")
		}
		line = l
	}
	if line == nil {
		return refuse(hint, "there is no key on standard input")
	}
	key, comment, options, _, err := gossh.ParseAuthorizedKey(line)
	switch {
	case err != nil:
		return refuse(hint, "that is no public key of ssh")
	case len(options) > 0:
		return refuse("leave out what stands before the type of the key", "options before a key have no meaning here")
	}
	if err := config.CheckPublicKey(key); err != nil {
		return store.Key{}, err
	}
	return store.Key{
		Type: key.Type(), Blob: key.Marshal(), Fingerprint: gossh.FingerprintSHA256(key), Comment: strings.TrimSpace(comment),
	}, nil
}

type keyJSON struct {
	Name        string        `json:"name"`
	Type        string        `json:"type"`
	Fingerprint string        `json:"fingerprint"`
	Comment     string        `json:"comment"`
	Admin       bool          `json:"admin"`
	Allow       []config.Glob `json:"allow"`
	Created     *time.Time    `json:"created"`
}

func asKey(k store.Key) keyJSON {
	return keyJSON{k.Name, k.Type, k.Fingerprint, k.Comment, k.Admin, inOrder(k.Allow), jsonTime(k.Created)}
}

func keyList(ctx context.Context, c *call) error {
	keys, err := c.app.store.Keys(ctx)
	if err != nil {
		return err
	}
	slices.SortStableFunc(keys, func(a, b store.Key) int { return b.Created.Compare(a.Created) })
	out := []keyJSON{}
	var rows [][]string
	for _, k := range keys {
		out = append(out, asKey(k))
		rows = append(rows, []string{k.Name, rightsOf(k), known(k), minute(k.Created), k.Comment})
	}
	return c.list(out, []string{"NAME", "RIGHTS", "FINGERPRINT", "ADDED", "COMMENT"}, rows)
}

func keyRemove(ctx context.Context, c *call) error {
	c.detail = c.args[0]
	k, err := c.app.store.RemoveKey(ctx, c.args[0])
	if err != nil {
		return err
	}
	c.detail = k.Name + " " + known(k)
	err = errors.Join(c.say("key %s is removed (%s)", k.Name, known(k)), c.sayNoAdmin(ctx, k))
	if c.app.dropKey != nil {
		c.app.dropKey(k.Name) // last: it may be the caller's own
	}
	return err
}

// sayNoAdmin warns who has removed the last admin's key.
func (c *call) sayNoAdmin(ctx context.Context, removed store.Key) error {
	left, err := c.app.store.Keys(ctx)
	if err != nil || !removed.Admin || slices.ContainsFunc(left, func(k store.Key) bool { return k.Admin }) {
		return err
	}
	return c.say("note: no admin is left; on the server: slipway key add NAME --admin < key.pub")
}

func keyAttempts(ctx context.Context, c *call) error {
	all, err := c.app.store.Attempts(ctx)
	if err != nil {
		return err
	}
	type attempt struct {
		Fingerprint   string     `json:"fingerprint"`
		User          string     `json:"user"`
		Address       string     `json:"address"`
		AuthorizedKey string     `json:"authorized_key"`
		Count         int        `json:"count"`
		Last          *time.Time `json:"last"`
	}
	out := []attempt{}
	var rows [][]string
	for _, a := range all {
		out = append(out, attempt{a.Fingerprint, a.User, a.Addr, a.AuthorizedKey, a.Count, jsonTime(a.Last)})
		rows = append(rows, []string{minute(a.Last), strconv.Itoa(a.Count), a.User, a.Addr, a.Fingerprint, a.AuthorizedKey})
	}
	return c.list(out, []string{"LAST", "TIMES", "USER", "ADDRESS", "FINGERPRINT", "KEY"}, rows)
}
