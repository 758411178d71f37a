module stage

go 1.25

require millstream v0.0.0

replace millstream => ./millstream
