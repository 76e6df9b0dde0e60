package sshclient

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/ssh"

	"slipway/config"
)

// identity reads a private key, and the certificate of it where one lies
// beside it; the certificate is offered first. The hint is for no path at all.
func identity(path, hint string) ([]ssh.Signer, error) {
	if path == "" {
		return nil, config.Errorf(config.Usage, hint, "none is set")
	}
	name := filepath.Base(path)
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	signer, err := ssh.ParsePrivateKey(text)
	var locked *ssh.PassphraseMissingError
	switch {
	case errors.As(err, &locked):
		return nil, config.Errorf(config.Usage, "ssh-keygen -p -N '' -f "+shellWord(path), "%s has a passphrase", name)
	case err != nil:
		return nil, fmt.Errorf("%s is not a private key that can be read", name)
	}
	text, err = os.ReadFile(path + "-cert.pub")
	if errors.Is(err, os.ErrNotExist) {
		return []ssh.Signer{signer}, nil
	}
	if err != nil {
		return nil, err
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey(text)
	if err != nil {
		return nil, fmt.Errorf("%s-cert.pub: %w", name, err)
	}
	cert, ok := key.(*ssh.Certificate)
	if !ok || !bytes.Equal(cert.Key.Marshal(), signer.PublicKey().Marshal()) {
		return nil, fmt.Errorf("%s-cert.pub is not a certificate of %s", name, name)
	}
	certified, err := ssh.NewCertSigner(cert, signer)
	if err != nil {
		return nil, fmt.Errorf("%s-cert.pub: %w", name, err)
	}
	return []ssh.Signer{certified, signer}, nil
}

// shellWord is a path as a shell takes it; a plain one stays as it is.
func shellWord(s string) string {
	if strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._/-") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(plain(s), "'", `'\''`) + "'"
}
