"""Long lists, sorted and filtered here and not in the page: an order of all ids first, rows by the window then.

GET /api/v1/views/{kind}        ids in order, how many of each sort there are
GET /api/v1/views/{kind}/rows   up to a hundred rows
"""
