module scopegate/integration/judge/lines

go 1.26.0
