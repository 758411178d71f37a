module millstream

go 1.25
