package sshclient

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"slipway/config"
)

const (
	markerCA      = "@cert-authority"
	markerRevoked = "@revoked"
)

// knownHosts is a known_hosts file as sshd(8) describes it. Lines that OpenSSH
// would skip are skipped.
type knownHosts struct {
	name  string // of the file, for messages
	lines []hostLine
}

type hostLine struct {
	number int
	marker string
	hosts  string // patterns, or a hash
	key    ssh.PublicKey
}

func readKnownHosts(path string) (*knownHosts, error) {
	if path == "" {
		return &knownHosts{name: "known_hosts"}, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	k := &knownHosts{name: filepath.Base(path)}
	n := 0
	for line := range bytes.Lines(text) {
		n++
		words := strings.Fields(string(line))
		l := hostLine{number: n}
		if len(words) > 0 && words[0][0] == '@' {
			l.marker, words = words[0], words[1:]
		}
		if len(words) < 3 || words[0][0] == '#' || l.marker != "" && l.marker != markerCA && l.marker != markerRevoked {
			continue
		}
		blob, err := base64.StdEncoding.DecodeString(words[2])
		if err != nil {
			continue
		}
		key, err := ssh.ParsePublicKey(blob)
		if err != nil || key.Type() != words[1] {
			continue
		}
		l.hosts, l.key = words[0], key
		k.lines = append(k.lines, l)
	}
	return k, nil
}

// hostName is how known_hosts writes a host: with its port in brackets, if it
// is not the usual one.
func hostName(host config.Host) string {
	if host.Port == 22 {
		return host.Name
	}
	return "[" + host.Name + "]:" + strconv.Itoa(host.Port)
}

func (l *hostLine) matches(name string) bool {
	if strings.HasPrefix(l.hosts, "|") {
		parts := strings.Split(l.hosts, "|")
		if len(parts) != 4 || parts[1] != "1" {
			return false
		}
		salt, err := base64.StdEncoding.DecodeString(parts[2])
		if err != nil {
			return false
		}
		want, err := base64.StdEncoding.DecodeString(parts[3])
		if err != nil {
			return false
		}
		mac := hmac.New(sha1.New, salt)
		mac.Write([]byte(name))
		return subtle.ConstantTimeCompare(mac.Sum(nil), want) == 1
	}
	found := false
	for _, p := range strings.Split(strings.ToLower(l.hosts), ",") {
		pattern, not := strings.CutPrefix(p, "!")
		if !wildcard(pattern, name) {
			continue
		}
		if not {
			return false
		}
		found = true
	}
	return found
}

// wildcard matches '*' and '?'. It never goes back further than to the last
// star, so a line cannot make it slow.
func wildcard(pattern, s string) bool {
	p, i, star, from := 0, 0, -1, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, from = p, i
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == s[i]):
			p++
			i++
		case star >= 0:
			from++
			p, i = star+1, from
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// algorithms are those of the keys that are pinned for a host, so that one with
// several keys shows such a one; nil if none is.
func (k *knownHosts) algorithms(host config.Host) []string {
	name := hostName(host)
	var plain, certified []string
	for i := range k.lines {
		l := &k.lines[i]
		switch {
		case l.marker == markerRevoked || !l.matches(name):
		case l.marker == markerCA:
			certified = []string{
				ssh.CertAlgoED25519v01, ssh.CertAlgoECDSA256v01, ssh.CertAlgoECDSA384v01, ssh.CertAlgoECDSA521v01,
				ssh.CertAlgoRSASHA512v01, ssh.CertAlgoRSASHA256v01,
			}
		case l.key.Type() == ssh.KeyAlgoRSA:
			plain = append(plain, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256)
		default:
			plain = append(plain, l.key.Type())
		}
	}
	slices.Sort(plain)
	return append(certified, slices.Compact(plain)...)
}

// check says whether a host may show a key: nil, or an *Error.
func (k *knownHosts) check(host config.Host, key ssh.PublicKey, now func() time.Time) error {
	name := hostName(host)
	offered := key
	if cert, ok := key.(*ssh.Certificate); ok {
		if k.has(markerCA, name) {
			err := k.checkCert(host, cert, now)
			if err == nil || !k.has("", name) {
				return err
			}
		}
		offered = cert.Key // a pinned key is as good with a certificate as without
	}
	if l := k.revoked(offered); l != nil {
		return k.refuse(host, offered, fmt.Sprintf("an admin must find out why; %s line %d revokes it", k.name, l.number),
			"the host key of %s is revoked; no credential was sent", host.Addr())
	}
	line := 0
	for i := range k.lines {
		l := &k.lines[i]
		if l.marker != "" || !l.matches(name) {
			continue
		}
		if bytes.Equal(l.key.Marshal(), offered.Marshal()) {
			return nil
		}
		if line == 0 || l.key.Type() == offered.Type() {
			line = l.number
		}
	}
	if line > 0 {
		return k.refuse(host, offered, fmt.Sprintf("an admin must find out why before replacing %s line %d", k.name, line),
			"host key of %s CHANGED; no credential was sent", host.Addr())
	}
	return k.refuse(host, offered, "an admin compares the fingerprint, then adds it to "+k.name,
		"the host key of %s is not in %s", host.Addr(), k.name)
}

// checkCert proves a host's certificate by the authorities for that host.
func (k *knownHosts) checkCert(host config.Host, cert *ssh.Certificate, now func() time.Time) error {
	name := hostName(host)
	for _, key := range []ssh.PublicKey{cert.Key, cert.SignatureKey} {
		if l := k.revoked(key); l != nil {
			return k.refuse(host, key, fmt.Sprintf("an admin must find out why; %s line %d revokes it", k.name, l.number),
				"the host key of %s is revoked; no credential was sent", host.Addr())
		}
	}
	checker := &ssh.CertChecker{
		Clock: now,
		IsHostAuthority: func(authority ssh.PublicKey, _ string) bool {
			return slices.ContainsFunc(k.lines, func(l hostLine) bool {
				return l.marker == markerCA && l.matches(name) && bytes.Equal(l.key.Marshal(), authority.Marshal())
			})
		},
	}
	if err := checker.CheckHostKey(net.JoinHostPort(host.Name, strconv.Itoa(host.Port)), nil, cert); err != nil {
		return k.refuse(host, cert.Key, "an admin renews the host's certificate, or its @cert-authority line",
			"the host certificate of %s is not valid: %s", host.Addr(), strings.TrimPrefix(err.Error(), "ssh: "))
	}
	return nil
}

func (k *knownHosts) has(marker, name string) bool {
	return slices.ContainsFunc(k.lines, func(l hostLine) bool { return l.marker == marker && l.matches(name) })
}

// revoked returns the line that revokes a key, for whatever host.
func (k *knownHosts) revoked(key ssh.PublicKey) *hostLine {
	i := slices.IndexFunc(k.lines, func(l hostLine) bool {
		return l.marker == markerRevoked && bytes.Equal(l.key.Marshal(), key.Marshal())
	})
	if i < 0 {
		return nil
	}
	return &k.lines[i]
}

func (k *knownHosts) refuse(host config.Host, key ssh.PublicKey, hint, format string, a ...any) error {
	return &Error{
		Err: config.Errorf(config.Denied, hint, format, a...), Addr: host.Addr(),
		Detail: []string{host.Addr() + " offered " + key.Type(), ssh.FingerprintSHA256(key)},
	}
}
