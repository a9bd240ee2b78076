"""helm's hand: one supervised link per node, and the plan of what to tell it."""
