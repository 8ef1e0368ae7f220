// Package wire is what goes over HTTP: the paths, content types, codes and JSON types of the
// API, once, for the server, the client and their tests. It has no behaviour.
//
// The types are those of answers and of a bulk's request. In other requests a field that is null
// differs from one that is missing: those types are in package api, and in package client as a
// client writes them.
package wire

// The paths of the API.
const (
	PathToken      = "/_/token"
	PathValue      = "/_/token/value"
	PathRotate     = "/_/token/rotate"
	PathBulk       = "/_/token/bulk"
	PathExport     = "/_/token/export"
	PathImport     = "/_/token/import"
	PathVerify     = "/_/token/verify"
	PathIntrospect = "/_/token/introspect"
	PathBackup     = "/_/backup"
	PathRekey      = "/_/rekey"

	PathAuthNginx   = "/_/auth/nginx"
	PathAuthForward = "/_/auth/forward"
	PathAuthEnvoy   = "/_/auth/envoy"
	PathAuthRead    = "/_/auth/read"
	PathAuthWrite   = "/_/auth/write"

	PathHealth  = "/healthz"
	PathReady   = "/readyz"
	PathMetrics = "/metrics"
	PathVersion = "/version"
	PathOpenAPI = "/openapi.yaml"
)

// Content types.
const (
	JSON         = "application/json"
	JSONLines    = "application/x-ndjson"
	CBORSequence = "application/cbor-seq" // RFC 8742
	ProblemJSON  = "application/problem+json"
)

// Headers of tokend's own. Those of a token are on every success of a check.
const (
	HeaderRequestID    = "X-Request-Id"
	HeaderTokenName    = "X-Token-Name"
	HeaderTokenWrite   = "X-Token-Write"   //nolint:gosec // a name
	HeaderTokenRotated = "X-Token-Rotated" //nolint:gosec // a name
)

// Code says what a problem is, for programs. It is stable.
type Code = string

// The codes of problems.
const (
	CodeAuditUnavailable      Code = "audit_unavailable"
	CodeBadRequest            Code = "bad_request"
	CodeBodyTooLarge          Code = "body_too_large"
	CodeHeadersTooLarge       Code = "headers_too_large"
	CodeHTTPVersion           Code = "http_version_not_supported"
	CodeInsufficientScope     Code = "insufficient_scope"
	CodeInternal              Code = "internal"
	CodeInvalidBody           Code = "invalid_body"
	CodeInvalidExpirationDate Code = "invalid_expiration_date"
	CodeInvalidName           Code = "invalid_name"
	CodeInvalidQuery          Code = "invalid_query"
	CodeInvalidRequest        Code = "invalid_request"
	CodeInvalidToken          Code = "invalid_token"
	CodeInvalidValue          Code = "invalid_value"
	CodeMasterKeyUnusable     Code = "master_key_unusable"
	CodeMethodNotAllowed      Code = "method_not_allowed"
	CodeMisdirected           Code = "misdirected_request"
	CodeNameTaken             Code = "name_taken"
	CodeNotFound              Code = "not_found"
	CodeNothingToChange       Code = "nothing_to_change"
	CodeOverloaded            Code = "overloaded"
	CodeRequestTimeout        Code = "request_timeout"
	CodeShuttingDown          Code = "shutting_down"
	CodeStorageFull           Code = "storage_full"
	CodeStorageUnavailable    Code = "storage_unavailable"
	CodeTokenNotFound         Code = "token_not_found"
	CodeTooMany               Code = "too_many"
	CodeUnauthorized          Code = "unauthorized"
	CodeValueTaken            Code = "value_taken"
	CodeAlreadyThere          Code = "already_there" // of a line of an import, whose token exists just so
)

// Data wraps what most answers show.
type Data[T any] struct {
	Data []T `json:"data"`
}

// Token is a token without its value. Times are Unix milliseconds.
type Token struct {
	Name           string `json:"name"`
	Active         bool   `json:"active"`
	Write          bool   `json:"write"`
	Status         string `json:"status"` // active, inactive or expired
	Expires        bool   `json:"expires"`
	ExpirationDate int64  `json:"expiration_date"` // of a token that does not expire, the time of its last change
	CreatedAt      int64  `json:"created_at"`
	UpdatedAt      int64  `json:"updated_at"`
	LastUsedAt     *int64 `json:"last_used_at"` // null: never
	*Grace
}

// Grace is there while the value before the last rotation is good too.
type Grace struct {
	PreviousValidUntil int64  `json:"previous_valid_until"`
	PreviousLastUsedAt *int64 `json:"previous_last_used_at"` // null: never
}

// TokenWithValue is a token with its value.
type TokenWithValue struct {
	Token
	Value string `json:"token"`
}

// Rotated is a token with its new value. It always tells how long the old one is good, null
// where it is not.
type Rotated struct {
	TokenWithValue
	PreviousValidUntil *int64 `json:"previous_valid_until"`
}

// Value is a token's value.
type Value struct {
	Name  string `json:"name"`
	Value string `json:"token"`
}

// Grant is what a value that was verified stands for.
type Grant struct {
	Name           string `json:"name"`
	Write          bool   `json:"write"`
	Expires        bool   `json:"expires"`
	ExpirationDate int64  `json:"expiration_date"`
}

// Introspection is the answer of RFC 7662. Its times are seconds.
type Introspection struct {
	Active    bool   `json:"active"`
	Scope     string `json:"scope,omitzero"`
	ClientID  string `json:"client_id,omitzero"`
	Subject   string `json:"sub,omitzero"`
	Username  string `json:"username,omitzero"` // the same, for who looks only there
	TokenType string `json:"token_type,omitzero"`
	IssuedAt  int64  `json:"iat,omitzero"`
	ExpiresAt int64  `json:"exp,omitzero"`
}

// Bulk is one thing done to many tokens: those with Names, or those that Filter means.
type Bulk struct {
	Action string   `json:"action"` // activate, deactivate or delete
	Names  []string `json:"names,omitempty"`
	Filter *Filter  `json:"filter,omitzero"`
	DryRun bool     `json:"dry_run,omitzero"`
}

// Filter says which tokens are meant. Nil does not matter. Times are Unix milliseconds.
type Filter struct {
	Prefix        *string `json:"prefix,omitzero"`
	Status        *string `json:"status,omitzero"`
	ExpiresBefore *int64  `json:"expires_before,omitzero"`
	UnusedSince   *int64  `json:"unused_since,omitzero"`
}

// Bulked is what a bulk did.
type Bulked struct {
	Matched int      `json:"matched"`
	Changed int      `json:"changed"` // the others were so already
	Names   []string `json:"names"`
}

// Batch tells what became of some lines of an import: all their tokens were made, or none.
type Batch struct {
	FirstLine int       `json:"first_line"`
	LastLine  int       `json:"last_line"`
	Created   int       `json:"created"`
	Refused   []Refusal `json:"refused,omitzero"` // why none was made
	Error     *Failure  `json:"error,omitzero"`   // the import stopped here
}

// Refusal is a line that was not taken.
type Refusal struct {
	Line   int    `json:"line"`
	Name   string `json:"name,omitzero"`
	Code   Code   `json:"code"`
	Field  string `json:"field,omitzero"`
	Detail string `json:"detail"`
}

// Failure is why an import stopped.
type Failure struct {
	Code   Code   `json:"code"`
	Detail string `json:"detail"`
}

// Rekeyed tells whether another master key seals the store now.
type Rekeyed struct {
	Changed bool `json:"changed"`
}

// Problem is an answer that says what went wrong (RFC 9457).
type Problem struct {
	Type      string `json:"type"`
	Title     string `json:"title"`
	Status    int    `json:"status"`
	Code      Code   `json:"code"`
	Detail    string `json:"detail"`
	Field     string `json:"field,omitzero"`
	RequestID string `json:"request_id"`

	// OAuthError is what OAuth clients read (RFC 6749, section 5.2): invalid_client where an
	// introspection's caller is refused.
	OAuthError string `json:"error,omitzero"`
}

// Readiness is whether tokens can be looked up, and changed.
type Readiness struct {
	Status   string `json:"status"` // starting, ready, failed or draining
	Writable bool   `json:"writable"`
	Reason   string `json:"reason,omitzero"`
}

// Version is what the server was built from.
type Version struct {
	Version  string `json:"version"`
	Revision string `json:"revision"`
	Go       string `json:"go"`
}

// Front is the front page for a program.
type Front struct {
	Name    string    `json:"name"`
	Version string    `json:"version"`
	Health  Readiness `json:"health"`
	API     string    `json:"api"`
	Ready   string    `json:"ready"`
	Metrics string    `json:"metrics,omitzero"` // where it is not on an address of its own
}
