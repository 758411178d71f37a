package millstream

import (
	"time"

	types "millstream/internal/millstream_stage_types"
	wit "millstream/internal/wit/types"
)

// Header is one header. A nil value is null.
type Header struct {
	Name  string
	Value []byte
}

// Record is a record to produce. What is not set is left to the host.
type Record struct {
	// A nil key is none, and a nil value a tombstone. Empty is neither.
	Key, Value []byte
	// Headers go behind the input's, or with ReplaceHeaders stand in their place. A name may stand twice.
	Headers        []Header
	ReplaceHeaders bool
	// Output is one of the stage's by its name in the manifest; "" is the first.
	Output string
	// Partition is where it goes, as [Partition] makes it; nil: the key decides.
	Partition *uint32
	// Timestamp counts in milliseconds; the zero time is the input's.
	Timestamp time.Time
}

// Partition is that one, for a [Record].
func Partition(number uint32) *uint32 { return &number }

func (r *Record) wire() types.Record {
	wire := types.Record{Key: orNone(r.Key), Value: orNone(r.Value)}
	if r.ReplaceHeaders {
		wire.Headers = types.MakeHeaderEditReplace(wireHeaders(r.Headers))
	} else if len(r.Headers) > 0 {
		wire.Headers = types.MakeHeaderEditAdd(wireHeaders(r.Headers))
	}
	if r.Output != "" {
		wire.Output = wit.Some(utf8(r.Output))
	}
	if r.Partition != nil {
		wire.Partition = wit.Some(*r.Partition)
	}
	if !r.Timestamp.IsZero() {
		wire.Timestamp = wit.Some(r.Timestamp.UnixMilli())
	}
	return wire
}

func wireHeaders(headers []Header) []types.Header {
	wire := make([]types.Header, len(headers))
	for i, header := range headers {
		wire[i] = types.Header{Name: utf8(header.Name), Value: orNone(header.Value)}
	}
	return wire
}
