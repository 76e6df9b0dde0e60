package main

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"encoding/pem"
	"strings"
	"testing"

	gossh "golang.org/x/crypto/ssh"

	"slipway/store"
)

func TestKeyAdd(t *testing.T) {
	o := newOffice(t)
	line, fingerprint := publicKey(t, "maria")
	other, _ := publicKey(t, "other")
	short, err := rsa.GenerateKey(rand.Reader, 1024)
	check(t, err)
	weak, err := gossh.NewPublicKey(&short.PublicKey)
	check(t, err)
	signer, err := gossh.NewSignerFromKey(short)
	check(t, err)
	cert := &gossh.Certificate{Key: weak, CertType: gossh.UserCert, ValidPrincipals: []string{"maria"}}
	check(t, cert.SignCert(rand.Reader, signer))
	private := string(pem.EncodeToMemory(&pem.Block{Type: "OPENSSH PRIVATE KEY", Bytes: []byte("secret bytes")}))

	for _, l := range []struct{ name, stdin, key, error string }{
		{"nothing", "", "new", "there is no key on standard input"},
		{"only a remark", "# my key\n\n", "new", "there is no key on standard input"},
		{"a private key", private, "new", "that is a private key; nothing was kept of it"},
		{"PuTTY's private key", "PuTTY-User-Key-File-3: ssh-ed25519\n", "new", "that is a private key; nothing was kept of it"},
		{"another form", "---- BEGIN SSH2 PUBLIC KEY ----\nAAAA\n", "new", "that is a public key in another form"},
		{"two", line + other, "new", "there is more than one line on standard input"},
		{"options", `command="sh",no-pty ` + line, "new", "options before a key have no meaning here"},
		{"no key", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5", "new", "that is no public key of ssh"},
		{"far too long", line + strings.Repeat("#", maxKey+1), "new", "that is longer than a key can be"},
		{"a weak key", string(gossh.MarshalAuthorizedKey(weak)), "new", "an RSA key has 2048 to 4096 bits, not 1024"},
		{"a certificate", string(gossh.MarshalAuthorizedKey(cert)), "new", "keys of type \"ssh-rsa-cert-v01@openssh.com\" are not taken"},
		{"DSA", "ssh-dss AAAAB3NzaC1kc3MAAAAJAKqCbpkHFbPfAAAACQCqgm6ZBxWz3wAAAAkAqoJumQcVs98AAAAJAKqCbpkHFbPf x", "new", ""},
		{"no name", line, "-x", ""},
		{"a name that is ours", line, "local", `"local" is no name for a key`},
		{"a name with a space", line, "ma ria", `"ma ria" is no name for a key`},
		{"a name too long", line, strings.Repeat("a", 64), `"` + strings.Repeat("a", 64) + `" is no name for a key`},
		{"a pattern that is none", line, "new --allow=shop", `parse "shop": not a pattern over APP/ENV`},
	} {
		t.Run(l.name, func(t *testing.T) {
			name, flag, _ := strings.Cut(l.key, " --")
			argv := []string{"key", "add", name}
			if flag != "" {
				argv = append(argv, "--"+flag)
			}
			r := o.do(onServer, l.stdin, argv...)
			said, hint, _ := strings.Cut(r.Err, "\n")
			if r.Status != 2 || r.Out != "" || !strings.HasPrefix(hint, "hint: ") || l.error != "" && said != "error: "+l.error {
				t.Errorf("%+v, want %q", r, l.error)
			}
			if strings.Contains(r.Err, "secret bytes") {
				t.Errorf("the private key is shown: %s", r.Err)
			}
		})
	}
	keys, err := o.store.Keys(t.Context())
	check(t, err)
	events, err := o.store.Events(t.Context(), "", 9)
	check(t, err)
	same(t, "after refusals", []int{len(keys), len(events)}, []int{0, 0})

	for _, l := range []struct {
		name, stdin string
		flags       []string
		says        string
		rights      string
	}{
		{
			"without rights", "# from maria\r\n" + strings.TrimSpace(line) + "\r\n", nil,
			"key maria is added: no rights (" + fingerprint + ")\nhint: it may deploy nothing yet: key add maria --allow 'APP/ENV', or --admin\n", "no rights",
		},
		{"rights", line, []string{"--allow", "shop/*", "--allow", "*/dev", "--allow", "shop/*"}, "key maria has new rights: shop/*, */dev; they were: no rights\n", "shop/*, */dev"},
		{"the same again", line, nil, "key maria is there already: shop/*, */dev (" + fingerprint + ")\n", "shop/*, */dev"},
		{"without the key", "", []string{"--admin"}, "key maria has new rights: admin; they were: shop/*, */dev\n", "admin"},
		{"fewer", " \n", []string{"--admin=false"}, "key maria has new rights: no rights; they were: admin\nhint: it may deploy nothing yet: key add maria --allow 'APP/ENV', or --admin\n", "no rights"},
	} {
		t.Run(l.name, func(t *testing.T) {
			same(t, "said", o.do(onServer, l.stdin, append([]string{"key", "add", "maria"}, l.flags...)...), result{0, "", l.says})
			k, err := o.store.KeyByName(t.Context(), "maria")
			check(t, err)
			same(t, "rights", rightsOf(*k), l.rights)
			events, err := o.store.Events(t.Context(), "", 1)
			check(t, err)
			same(t, "audited", []string{events[0].By, events[0].Action, events[0].Detail, events[0].Result},
				[]string{"local:root", "key add", "maria " + fingerprint + " " + l.rights, "ok"})
		})
	}

	r := o.do(onServer, line, "key", "add", "twin")
	same(t, "one key, two names", []any{r.Status, strings.Contains(r.Err, "this key is there already, as maria")}, []any{2, true})
	r = o.do(onServer, other, "key", "add", "maria")
	same(t, "one name, two keys", []any{r.Status, strings.Contains(r.Err, "there is another key with the name maria")}, []any{2, true})
}

// A name without a public key has rights for certificates, and every command
// for keys takes it.
func TestKeyPrincipal(t *testing.T) {
	o := newOffice(t)
	maria := o.key("maria", "--admin")
	add := func(stdin string, argv ...string) result {
		t.Helper()
		return o.do(onServer, stdin, append([]string{"key", "add", "ops"}, argv...)...)
	}
	same(t, "added", add("", "--principal", "--allow", "shop/*"), result{0, "", "key ops is added: shop/* (by certificate)\n"})
	same(t, "again", add("", "--principal"), result{0, "", "key ops is there already: shop/* (by certificate)\n"})
	same(t, "other rights", add("", "--admin"), result{0, "", "key ops has new rights: admin; they were: shop/*\n"})
	line, _ := publicKey(t, "ops")
	r := add(line)
	same(t, "a public key for it", []any{r.Status, strings.Contains(r.Err, "there is another key with the name ops")}, []any{2, true})
	r = o.do(onServer, "", "key", "add", "maria", "--principal")
	same(t, "one that has a key", r, result{2, "", "error: maria has a public key\nhint: leave --principal out: certificates with the principal maria are taken as it is\n"})
	second := o.do(onServer, "", "key", "add", "ci", "--principal")
	same(t, "a second one", second.Status, 0)
	if list := o.must(maria, "", "key", "list"); !strings.Contains(narrow(list), "\nops admin by certificate ") {
		t.Errorf("%s", list)
	}
	same(t, "removed", o.do(maria, "", "key", "remove", "ops"), result{0, "", "key ops is removed (by certificate)\n"})
	same(t, "sessions ended", o.dropped, []string{"ops"})

	by := store.Caller{Name: "ci", Fingerprint: maria.Fingerprint, Certificate: "certificate ci@corp serial 7", Addr: "192.0.2.7:5"}
	same(t, "refused", o.do(by, "", "key", "list").Status, 3)
	var events []eventJSON
	check(t, json.Unmarshal([]byte(o.must(onServer, "", "audit", "--limit", "1", "--json")), &events))
	same(t, "audited", []string{events[0].By, events[0].Fingerprint, events[0].Certificate}, []string{"ci", maria.Fingerprint, by.Certificate})
	if hello := o.must(by, ""); !strings.HasPrefix(hello, "Hi ci (key certificate ci@corp serial 7)\n") {
		t.Errorf("%s", hello)
	}
}

func TestKeyRemove(t *testing.T) {
	o := newOffice(t)
	maria := o.key("maria", "--admin")
	r := o.do(maria, "", "key", "remove", "maria")
	same(t, "removed", r, result{0, "", "key maria is removed (" + maria.Fingerprint + ")\nnote: no admin is left; on the server: slipway key add NAME --admin < key.pub\n"})
	same(t, "sessions ended", o.dropped, []string{"maria"})
	same(t, "again", o.do(onServer, "", "key", "remove", "maria").Status, 4)
	same(t, "sessions ended", o.dropped, []string{"maria"})
}

func TestKeyJSON(t *testing.T) {
	o := newOffice(t)
	maria := o.key("maria", "--admin", "--allow", "*/prod")
	o.key("new")
	var got []map[string]any
	check(t, json.Unmarshal([]byte(o.must(maria, "", "key", "list", "--json")), &got))
	_, newer := publicKey(t, "new")
	same(t, "keys", got, []map[string]any{
		{
			"name": "maria", "type": "ssh-ed25519", "fingerprint": maria.Fingerprint, "comment": "maria@laptop",
			"admin": true, "allow": []any{"*/prod"}, "created": "2026-11-25T04:05:00Z",
		},
		{
			"name": "new", "type": "ssh-ed25519", "fingerprint": newer, "comment": "new@laptop",
			"admin": false, "allow": []any{}, "created": "2026-11-25T04:05:00Z",
		},
	})
	// Every list is an array, though it has nothing in it.
	empty := newOffice(t)
	for _, line := range []string{"key list", "key attempts", "app list", "audit", "vars list shop/dev", "cache list"} {
		same(t, line, empty.must(onServer, "", append(strings.Fields(line), "--json")...), "[]\n")
	}
	var k store.Key
	same(t, "no rights", rightsOf(k), "no rights")
}
