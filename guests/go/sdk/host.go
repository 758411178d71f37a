package millstream

import (
	"fmt"
	"time"

	"millstream/internal/clock"
	config "millstream/internal/millstream_stage_config"
	context "millstream/internal/millstream_stage_context"
	log "millstream/internal/millstream_stage_log"
)

// Origin says where the record in hand comes from.
type Origin struct {
	Topic     string // its name at the broker
	Input     string // the input's name in the manifest
	Partition uint32
	Offset    uint64
	Timestamp time.Time // the zero time: none
	Attempt   uint32    // 1 at first, more when the record is tried again
}

// Source is the origin of the record in hand.
func Source() Origin {
	defer clock.Hold()()
	m := context.Origin()
	origin := Origin{Topic: m.Topic, Input: m.Input, Partition: m.Partition, Offset: m.Offset, Attempt: m.Attempt}
	if m.Timestamp.IsSome() {
		origin.Timestamp = time.UnixMilli(m.Timestamp.Some()).UTC()
	}
	return origin
}

// Headers are those of the record in hand, in their order.
func Headers() []Header {
	defer clock.Hold()()
	wire := context.Headers()
	headers := make([]Header, len(wire))
	for i, header := range wire {
		headers[i] = Header{header.Name, bytesOrNil(header.Value)}
	}
	return headers
}

// FindHeader is the value of the first header of that name; nil when there is none, or it is null.
func FindHeader(name string) []byte {
	for _, header := range Headers() {
		if header.Name == name {
			return header.Value
		}
	}
	return nil
}

// Config is a setting from the manifest, and whether there is one.
func Config(name string) (value string, ok bool) {
	defer clock.Hold()()
	setting := config.Get(utf8(name))
	return setting.SomeOr(""), setting.IsSome()
}

// ConfigAll is every setting from the manifest.
func ConfigAll() map[string]string {
	defer clock.Hold()()
	all := map[string]string{}
	for _, setting := range config.All() {
		all[setting.F0] = setting.F1
	}
	return all
}

// Level says how much a line on the log matters.
type Level uint8

// The levels, from what nobody reads to what somebody must.
const (
	Trace = Level(log.LevelTrace)
	Debug = Level(log.LevelDebug)
	Info  = Level(log.LevelInfo)
	Warn  = Level(log.LevelWarn)
	Error = Level(log.LevelError)
)

// Log writes a line on the host's log, marked with the stage and the record in hand.
func Log(level Level, format string, values ...any) {
	line := utf8(fmt.Sprintf(format, values...))
	defer clock.Hold()()
	log.Write(log.Level(level), line)
}
