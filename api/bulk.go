package api

import (
	"strconv"

	"github.com/go-json-experiment/json"

	"tokend/api/wire"
	"tokend/kv"
)

// bulkBody is what a client does to many tokens at once.
type bulkBody struct {
	Action *string     `json:"action"`
	Names  *[]string   `json:"names"`
	Filter *filterBody `json:"filter"`
	DryRun *bool       `json:"dry_run"`
}

type filterBody struct {
	Prefix        *string      `json:"prefix,omitzero"`
	Status        *string      `json:"status,omitzero"`
	ExpiresBefore *wholeNumber `json:"expires_before,omitzero"`
	UnusedSince   *wholeNumber `json:"unused_since,omitzero"`
}

// String is the filter as it came, for people.
func (b filterBody) String() string {
	encoded, err := json.Marshal(b)
	if err != nil {
		panic(err) // it was decoded from JSON
	}
	return string(encoded)
}

func (s *Server) bulk(r *request) (reply, error) {
	var body bulkBody
	if err := r.decode(&body); err != nil {
		return reply{}, err
	}
	bulk, err := body.bulk()
	if err != nil {
		return reply{}, err
	}
	r.audited.action, r.audited.names = string(bulk.Action), bulk.Names
	if bulk.DryRun {
		r.audited.action += " (dry run)"
	}
	if body.Filter != nil {
		shown := *body.Filter
		if shown.Prefix != nil {
			shown.Prefix = new(s.hide(*shown.Prefix))
		}
		r.audited.filter = shown.String()
	}
	done, err := s.store.Bulk(detached, bulk)
	if err == nil && !bulk.DryRun {
		r.audited.names = done.Names
	}
	return reply{data: wire.Bulked{Matched: len(done.Names), Changed: done.Changed, Names: done.Names}}, err
}

func (b bulkBody) bulk() (bulk kv.Bulk, err error) {
	if b.Action != nil {
		bulk.Action = kv.Action(*b.Action)
	}
	switch bulk.Action {
	case kv.Activate, kv.Deactivate, kv.Remove:
	default:
		return bulk, invalidBody("action", "must be activate, deactivate or delete")
	}
	bulk.DryRun = b.DryRun != nil && *b.DryRun
	switch {
	case b.Names != nil && b.Filter != nil:
		return bulk, invalidBody("filter", "and names cannot be given both")
	case b.Names != nil:
		bulk.Names = *b.Names
		return bulk, checkNames(bulk.Names)
	case b.Filter == nil:
		return bulk, invalidBody("names", "or a filter is required")
	}
	bulk.Filter, err = b.Filter.filter()
	return bulk, err
}

func checkNames(names []string) error {
	if len(names) == 0 {
		return invalidBody("names", "is empty")
	}
	for i, name := range names {
		if err := kv.CheckName(name); err != nil {
			return invalidField(wire.CodeInvalidName, "names", "has a wrong one at "+strconv.Itoa(i)+": "+err.Error())
		}
	}
	return nil
}

func (b filterBody) filter() (f kv.Filter, err error) {
	if b == (filterBody{}) {
		return f, invalidBody("filter", "must have prefix, status, expires_before or unused_since")
	}
	if b.Prefix != nil {
		f.Prefix = *b.Prefix
		wrong := checkPartOfName(f.Prefix)
		if f.Prefix == "" {
			wrong = "is empty, which would mean all tokens"
		}
		if wrong != "" {
			return f, invalidBody("filter.prefix", wrong)
		}
	}
	if b.Status != nil {
		f.Status = kv.Status(*b.Status)
		if wrong := checkStatus(f.Status); wrong != "" {
			return f, invalidBody("filter.status", wrong)
		}
	}
	if b.ExpiresBefore != nil {
		if wrong := takeMoment(int64(*b.ExpiresBefore), &f.ExpiresBefore); wrong != "" {
			return f, invalidBody("filter.expires_before", wrong)
		}
	}
	if b.UnusedSince != nil {
		if wrong := takeMoment(int64(*b.UnusedSince), &f.UnusedSince); wrong != "" {
			return f, invalidBody("filter.unused_since", wrong)
		}
	}
	return f, nil
}
