"""The report: one page that describes the run (the story), and a page for each table.

`story` describes the run from the data to the verdict. `tables` shows each table, which can be
sorted. `gallery` shows sets of peptides: `wheel` draws a peptide as a helical wheel, `viewer` draws
it in 3D, and `logo` draws the sequence logo of a set. `sets` writes the pages of designs outside a
run (``structdiff evaluate --designs``, ``pick``, ``design scan`` and ``design analogues``). `frame`
makes Snakemake's report open at the story. The pages load nothing from the network. The command
that writes the pages of a run is
``python -m structdiff.report --results results/demo --output-dir results/demo/report``.
"""
