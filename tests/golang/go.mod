// Older versions of golang.org/x/mod do not check a full tile that lies beside the edge against the level above.
module qpubus.invalid/tests/golang

go 1.26.0

require golang.org/x/mod v0.42.0
