"""The report: the run as one story, a page for each table, and the frame around them.

`story` tells the run from the data to the verdict; `tables` shows each table, sortable; `wheel` and
`viewer` draw a design as a helical wheel and in space; `frame` opens Snakemake's report at the
story. Everything works offline: ``python -m structdiff.report --results results/demo --output-dir
results/demo/report`` writes pages that load nothing.
"""
