// Package export_millstream_stage_lifecycle is what the generated exports call.
package export_millstream_stage_lifecycle

import wit "millstream/internal/wit/types"

// Result says whether the stage may start.
type Result = wit.Result[wit.Unit, string]

// Open is the author's, if there is one.
var Open = func() Result { return wit.Ok[wit.Unit, string](wit.Unit{}) }
