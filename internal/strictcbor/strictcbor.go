// Package strictcbor is the CBOR (RFC 8949) that tokend keeps on disk: one form for each
// content, and nothing else is read.
package strictcbor

import "github.com/fxamacker/cbor/v2"

// Encoding writes core deterministic CBOR (RFC 8949, section 4.2.1).
var Encoding = must(cbor.CoreDetEncOptions().EncMode())

// Decoding refuses what Encoding does not write: doubled and unknown keys, lengths that are
// not given, tags.
var Decoding = must(cbor.DecOptions{
	DupMapKey:         cbor.DupMapKeyEnforcedAPF,
	IndefLength:       cbor.IndefLengthForbidden,
	TagsMd:            cbor.TagsForbidden,
	ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
}.DecMode())

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
