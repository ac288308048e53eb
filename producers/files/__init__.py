"""Files of contacts as people have them: CSV, NDJSON and workbooks, read row by row and never held in memory.

`source` opens a file, `csv_rows`, `ndjson` and `workbook` yield its rows, `columns` says what each column means,
`dates` and `numbers` read what is written in a local shape, and `contacts` puts them together.
"""
