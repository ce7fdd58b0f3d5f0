"""Every figure, table and claim of Chen et al. (ICML 2022): the paper's number where it states one,
what a store's studies answer, or what it takes to find out. May use: verdict, tables, store, query.
"""
