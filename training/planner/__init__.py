"""Words to components: the planner's network, what it knows of components, its plans and their reasons."""
