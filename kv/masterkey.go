package kv

import "tokend/kv/internal/seal"

// MasterKey seals the data key of a store. It lives outside of the store and, like a Value,
// does not show itself.
type MasterKey = seal.MasterKey

// NewMasterKey makes a random key.
func NewMasterKey() MasterKey { return seal.NewMasterKey() }

// ParseMasterKeys reads a key file: base64 of 32 bytes on each line, the current key first,
// older ones after it.
func ParseMasterKeys(file []byte) ([]MasterKey, error) { return seal.ParseMasterKeys(file) }
