package millstream

import (
	"errors"
	"time"

	stage "millstream/internal/export_millstream_stage_transformer"
	types "millstream/internal/millstream_stage_types"
	wit "millstream/internal/wit/types"
)

// Reject says that the record is wrong and always will be. The code groups failures, as in "unknown-currency"; "" is
// none. Any other error does the same without a code.
func Reject(code string, err error) error { return &failure{code: code, err: err} }

// Retry says that the record may go through later: the manifest says when it is tried again.
func Retry(code string, err error) error { return &failure{code: code, err: err, retry: true} }

// RetryAfter says that the record may go through after that time.
func RetryAfter(wait time.Duration, code string, err error) error {
	return &failure{code: code, err: err, retry: true, wait: wit.Some(uint64(max(wait.Milliseconds(), 0)))}
}

// Fault says that the stage's own code failed, as a panic does.
func Fault(code string, err error) error { return &failure{code: code, err: err, fault: true} }

type failure struct {
	code         string
	err          error
	retry, fault bool
	wait         wit.Option[uint64]
}

func (f *failure) Error() string { return f.err.Error() }

func (f *failure) Unwrap() error { return f.err }

func failed(err error) stage.Result {
	reason := types.Reason{Message: utf8(err.Error())}
	f := &failure{}
	if errors.As(err, &f) && f.code != "" {
		reason.Code = wit.Some(utf8(f.code))
	}
	why := types.MakeFailureReject(reason)
	if f.fault {
		why = types.MakeFailureFault(reason)
	} else if f.retry {
		why = types.MakeFailureRetry(types.Later{Reason: reason, AfterMs: f.wait})
	}
	return wit.Err[[]types.Record](why)
}
