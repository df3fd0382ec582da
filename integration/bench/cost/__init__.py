"""What a request costs in Envoy; one noun in a module.

    tokens    a provider that signs tokens
    filters   what is measured, as configurations of Envoy's filters
    rows      the table of what is measured: a row is a load on a listener
    envoy     a process of Envoy
    load      the programs that send requests
    check     whether a row refuses what it must, before it is measured
    measure   the rounds in which the rows take turns
    memory    what a worker holds
    figures   medians, ratios and percentiles
    targets   what the project wants of the figures
    report    tables in Markdown, and everything as JSON

Nothing but the standard library is used.
"""


class Failure(Exception):
    """Something a person must look at; told without a traceback."""
