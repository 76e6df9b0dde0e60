package config

// Secret is a value that no format prints: only Reveal gives it out, so that
// every place that does can be found by searching for that name.
type Secret struct{ value string }

// NewSecret wraps a value.
func NewSecret(value string) Secret { return Secret{value} }

// Reveal returns the value itself.
func (s Secret) Reveal() string { return s.value }

// IsZero says whether the value is empty.
func (s Secret) IsZero() bool { return s.value == "" }

func (Secret) String() string               { return "***" }
func (Secret) GoString() string             { return "***" }
func (Secret) MarshalText() ([]byte, error) { return []byte("***"), nil }
