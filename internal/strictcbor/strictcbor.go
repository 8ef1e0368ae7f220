// Package strictcbor is the CBOR (RFC 8949) that tokend keeps on disk: one form for each
// content, and nothing else is read.
package strictcbor

import "github.com/fxamacker/cbor/v2"

// Encoding writes core deterministic CBOR (RFC 8949, section 4.2.1).
var Encoding = must(cbor.CoreDetEncOptions().EncMode())

// Decoding refuses what Encoding does not write: doubled and unknown keys, lengths that are
// not given, tags.
var Decoding = must(strict().DecMode())

// Extensible is Decoding, but that it passes over keys it does not know.
var Extensible = must(extensible().DecMode())

func strict() cbor.DecOptions {
	o := extensible()
	o.ExtraReturnErrors = cbor.ExtraDecErrorUnknownField
	return o
}

func extensible() cbor.DecOptions {
	return cbor.DecOptions{
		DupMapKey:   cbor.DupMapKeyEnforcedAPF,
		IndefLength: cbor.IndefLengthForbidden,
		TagsMd:      cbor.TagsForbidden,
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
