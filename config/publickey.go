package config

import (
	"crypto/rsa"
	"strconv"

	"golang.org/x/crypto/ssh"
)

// CheckPublicKey says whether a public key of ssh is of a kind that is strong
// enough to let people in, or to sign for them: nil, or an Error of kind Usage.
func CheckPublicKey(key ssh.PublicKey) error {
	const hint = "make one with: ssh-keygen -t ed25519"
	switch key.Type() {
	case ssh.KeyAlgoED25519, ssh.KeyAlgoSKED25519, ssh.KeyAlgoSKECDSA256,
		ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521:
		return nil
	case ssh.KeyAlgoRSA:
		k, ok := key.(ssh.CryptoPublicKey)
		if !ok {
			break
		}
		if r, ok := k.CryptoPublicKey().(*rsa.PublicKey); ok {
			if n := r.N.BitLen(); n < 2048 || n > 4096 {
				return Errorf(Usage, hint, "an RSA key has 2048 to 4096 bits, not %d", n)
			}
			return nil
		}
	}
	return Errorf(Usage, hint, "keys of type %s are not taken", strconv.QuoteToASCII(key.Type()))
}
