"""Where in a map a domain lies: its orientation searched against what the rest of the model leaves of the density.

A gradient moves a domain downhill, and the way to a pose that is turned by 90° leads over hills. Here the way does not
matter: the density of the rest is subtracted, the domain is tried in orientations that miss none, at every place that
its linkers let it reach, and the best are refined. What comes out are proposals for where a chain may start; nothing
of it remains in what is sampled. Not to be confused with docking, which looks for a whole model anywhere in a map.

``density`` is the map that is searched, ``poses`` what a body is moved by and held by, ``search`` the search.
"""
