// Package millstream is what a stage in Go is written against: a function between two topics.
//
//	func init() { millstream.MapValue(bytes.TrimSpace) }
//
//	func main() {}
//
// That is a whole stage. It is registered in init, as main never runs.
//
// The instance may be replaced between any two records, and a record may come twice: what a stage keeps in variables is
// a cache, never the truth.
package millstream

import (
	"fmt"
	"path"
	"runtime"
	"strings"

	"millstream/internal/clock"
	lifecycle "millstream/internal/export_millstream_stage_lifecycle"
	stage "millstream/internal/export_millstream_stage_transformer"
	types "millstream/internal/millstream_stage_types"
	wit "millstream/internal/wit/types"
	_ "millstream/internal/wit_exports"
)

// MapValue is the stage that changes the value alone. A tombstone passes through, and none is made: nil is an empty
// value here, as that is what many functions give for it. [Map] makes them.
func MapValue(f func(value []byte) []byte) {
	Map(func(key, value []byte) ([]byte, []byte) {
		if value == nil {
			return key, nil
		}
		if value = f(value); value == nil {
			value = []byte{}
		}
		return key, value
	})
}

// Map is the stage that makes one record of each. A nil key is none, and a nil value a tombstone.
func Map(f func(key, value []byte) (newKey, newValue []byte)) {
	Transform(func(key, value []byte) ([]Record, error) {
		key, value = f(key, value)
		return []Record{{Key: key, Value: value}}, nil
	})
}

// Transform is the stage that makes any number of records of each. An error rejects the record, unless it comes from
// [Retry], [RetryAfter] or [Fault]; a panic is a fault as well.
func Transform(f func(key, value []byte) ([]Record, error)) {
	stage.Transform = func(key, value wit.Option[[]byte]) (result stage.Result) {
		clock.Start()
		defer clock.Stop()
		defer func() {
			if p := recover(); p != nil {
				result = failed(Fault("panic", fmt.Errorf("%v%s", p, panicked())))
			}
		}()
		records, err := f(bytesOrNil(key), bytesOrNil(value))
		if err != nil {
			return failed(err)
		}
		out := make([]types.Record, len(records))
		for i := range records {
			out[i] = records[i].wire()
		}
		return wit.Ok[[]types.Record, types.Failure](out)
	}
}

// OnOpen sets what is called once before the first record. An error refuses to start, with its words: the place to check
// the configuration.
func OnOpen(f func() error) {
	lifecycle.Open = func() (result lifecycle.Result) {
		clock.Start()
		defer clock.Stop()
		defer func() {
			if p := recover(); p != nil {
				result = wit.Err[wit.Unit](utf8(fmt.Sprintf("panic: %v%s", p, panicked())))
			}
		}()
		if err := f(); err != nil {
			return wit.Err[wit.Unit](utf8(err.Error()))
		}
		return wit.Ok[wit.Unit, string](wit.Unit{})
	}
}

// panicked says where the code was that panicked, for the function that recovers.
func panicked() string {
	var callers [32]uintptr
	frames := runtime.CallersFrames(callers[:runtime.Callers(3, callers[:])])
	for {
		frame, more := frames.Next()
		if !strings.HasPrefix(frame.Function, "runtime.") {
			return fmt.Sprintf(" (%s:%d)", path.Base(frame.File), frame.Line)
		}
		if !more {
			return ""
		}
	}
}

// utf8 makes a text one that the host takes.
func utf8(text string) string { return strings.ToValidUTF8(text, "\uFFFD") }

func bytesOrNil(o wit.Option[[]byte]) []byte {
	if o.IsNone() {
		return nil
	}
	if b := o.Some(); b != nil {
		return b
	}
	return []byte{}
}

func orNone(b []byte) wit.Option[[]byte] {
	if b == nil {
		return wit.None[[]byte]()
	}
	return wit.Some(b)
}
