// Package export_millstream_stage_transformer is what the generated exports call.
package export_millstream_stage_transformer

import (
	types "millstream/internal/millstream_stage_types"
	wit "millstream/internal/wit/types"
)

// Result is what becomes of a record.
type Result = wit.Result[[]types.Record, types.Failure]

// Transform is the author's.
var Transform = func(_, _ wit.Option[[]byte]) Result {
	nothing := types.Reason{Message: "there is no stage: call millstream.Transform, Map or MapValue in init"}
	return wit.Err[[]types.Record](types.MakeFailureFault(nothing))
}
